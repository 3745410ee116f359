#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills a restore in the middle of a file that it replaces, and expects that the file is the old one and that the next
# restore removes what is left, but neither what a restore that lives is making nor anything that only looks like it.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 jq mkfs.ext4 prlimit

make_volume disk ext4 900M
tree=$WORK/tree
mkdir -p "$tree/sub" "$WORK/single"
head -c 100000000 /dev/urandom >"$tree/sub/large"
echo small >"$tree/sub/small"
cp "$tree/sub/large" "$WORK/single/file"
name=$(live full "$tree" "$WORK/single/file")
out=$WORK/disk/out
restore() { "$UMBRA" --quiet restore "$WORK/target@$name" --to "$out" "$@"; }
restore || fail "the first restore failed"
same_trees "$tree" "$out$tree"
left() { find "$out" -name '.umbra-restore-*' "$@"; }

# Ended in the middle of the large file for certain: by the kernel, at its first byte too many.
echo old >"$out$tree/sub/large"
echo old >"$out$WORK/single/file"
for path in "$tree" "$WORK/single/file"; do
  status=0
  prlimit --fsize=1000000 --core=0 "$UMBRA" --quiet restore "$WORK/target@$name" --to "$out" "$path" || status=$?
  [ "$status" = $((128 + $(kill -l XFSZ))) ] || fail "the restore of $path ended with $status"
done
[ "$(left -printf x)" = xx ] || fail "what is left: $(left)"
[ "$(cat "$out$tree/sub/large" "$out$WORK/single/file")" = "$(printf 'old\nold')" ] || fail "a half-made file has the name"

# Not ours: a directory, a link, one with a second name, one that has another form, one that somebody has locked.
name_of() { echo "$out$tree/sub/.umbra-restore-$1"; }
mkdir "$(name_of 0000000000000001)"
ln -s ../../victim "$(name_of 0000000000000002)"
echo precious >"$out/victim"
ln "$out/victim" "$(name_of 0000000000000003)"
touch "$(name_of 000000000000004)" "$(name_of 0000000000000005.txt)" "$(name_of 000000000000000G)" "$(name_of 000000000000000A)"
touch "$(name_of 0000000000000008)"
mkfifo "$(name_of 0000000000000009)"
exec {locked}<"$(name_of 0000000000000008)"
flock "$locked"
# Ours, with the attributes that it got before it could get its name.
touch "$(name_of 00000000000000aa)"
chmod 0 "$(name_of 00000000000000aa)"
chown 1234:1234 "$(name_of 00000000000000aa)"
kept=$(left -regextype posix-extended -regex '.*-(0{15}[1-3]|0{14}4|0{15}5.txt|0{15}[GA]|0{15}[89])' | sort)
[ "$(wc -l <<<"$kept")" = 9 ] || fail "the test's own files: $kept"

restore || fail "the restore after the kill failed"
[ "$(left | sort)" = "$kept" ] || fail "left: $(left)"
[ "$(cat "$out/victim")" = precious ] || fail "a link was followed"
exec {locked}<&-
left -depth -delete
rm "$out/victim"
restore || fail "the restore into a clean directory failed"
same_trees "$tree" "$out$tree"
cmp "$tree/sub/large" "$out$WORK/single/file" || fail "the single file is not back"

# A restore that is stopped lives: another one leaves its file alone. Killed, it does not.
for try in {1..20}; do
  "$UMBRA" --quiet restore "$WORK/target@$name" --to "$out" "$tree/sub/large" &
  pid=$!
  cleanup_fn kill_and_wait $pid
  until [ -n "$(left)" ] || ! kill -0 $pid 2>/dev/null; do :; done
  kill -STOP $pid 2>/dev/null || continue
  wait_for 30 grep -qE '^State:[[:space:]](T|Z)' "/proc/$pid/status" || fail "the restore does not stop"
  [ -z "$(left)" ] || break
  kill -CONT $pid
  wait $pid
done
living=$(left)
[ -n "$living" ] || fail "no restore could be stopped in the middle in $try tries"
restore "$tree/sub" || fail "a restore beside another failed"
[ "$(left)" = "$living" ] || fail "what another restore was making is gone"
kill -KILL $pid
wait $pid 2>/dev/null || true
restore "$tree/sub/small" || fail "the last restore failed"
[ -z "$(left)" ] || fail "the killed restore left $(left)"
restore || fail "the restore of everything failed"
same_trees "$tree" "$out$tree"
