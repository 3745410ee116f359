#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes a full backup, three incremental ones, a differential one and a copy of a tree that changes in every way
# (contents, attributes, deletions, renames, files that become directories and back, hard links), and expects each to
# restore to the tree of its moment, in a fresh root and over the tree of any other moment.
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 setfattr setfacl setcap jq

tree=$WORK/tree
names=()
# keep TYPE EXPECTED: makes a backup, keeps the tree of this moment, checks type and what is stored
keep() {
  after_tick
  names+=("$(live "$1" "$tree")")
  [ "$(jq -r .type "$WORK/live.json")" = "$2" ] || fail "backup ${#names[@]} is $(jq -r .type "$WORK/live.json"), not $2"
  cp -a --reflink=auto "$tree" "$WORK/moment${#names[@]}"
  after_tick
}
stored() { jq -r ".$1" "$WORK/live.json"; }

make_everything "$tree"
mkdir -p "$tree/gone/below" "$tree/moved/dir" "$tree/dir-to-file/d"
touch "$tree/gone/below/f" "$tree/dir-to-file/d/f"
echo 1 >"$tree/moved/dir/one"
echo 1 >"$tree/file-to-dir"
echo kept >"$tree/kept"
ln -s kept "$tree/link-to-file"
seq 1000 | sed "s|^|$tree/many-|" | xargs touch
keep incremental full # there is no base yet

keep incremental incremental
[ "$(stored stored)" = 0 ] && [ "$(stored deleted)" = 0 ] || fail "an incremental backup of nothing new stored $(cat "$WORK/live.json")"

rm -r "$tree/gone"
mv "$tree/moved/dir" "$tree/moved/elsewhere"
rm -r "$tree/dir-to-file" && echo now-a-file >"$tree/dir-to-file"
rm "$tree/file-to-dir" && mkdir "$tree/file-to-dir" && echo x >"$tree/file-to-dir/x"
rm "$tree/link-to-file" && cp "$tree/kept" "$tree/link-to-file"
echo more >>"$tree/big"
chmod 0600 "$tree/many-7"
setfattr -n user.new -v 1 "$tree/many-8"
rm "$tree"/many-5*
ln "$tree/kept" "$tree/second-name"
rm "$tree/a" # its other name becomes the first
keep incremental incremental
[ "$(stored stored)" -lt 30 ] || fail "the incremental backup stored $(stored stored) members"

rm -r "$tree/file-to-dir" && echo back >"$tree/file-to-dir"
rm "$tree/dir-to-file" && mkdir -p "$tree/dir-to-file/d" && touch "$tree/dir-to-file/d/f"
# The same size and time, other content: only ctime tells.
printf abcd >"$tree/many-9" && touch -d 2020-01-01 "$tree/many-9"
keep incremental incremental
printf efgh >"$tree/many-9" && touch -d 2020-01-01 "$tree/many-9"
mkdir "$tree/gone" && echo again >"$tree/gone/f"
keep incremental incremental

keep differential differential
base=$("$UMBRA" --json ls "$WORK/target" | jq -r ".backups[] | select(.type == \"differential\") | .base")
[ "$base" = "$("$UMBRA" --json ls "$WORK/target" | jq -r '.backups[0].id')" ] || fail "the differential backup is not against the full one"

echo for-the-copy >"$tree/kept"
keep copy copy
echo after-the-copy >"$tree/kept"
keep incremental incremental
latest=$("$UMBRA" --json ls "$WORK/target" | jq -r '.backups[-1].base')
[ "$latest" = "$("$UMBRA" --json ls "$WORK/target" | jq -r '[.backups[] | select(.type == "incremental")][-2].id')" ] ||
  fail "an incremental backup stands on something else than the last incremental one"

"$UMBRA" --quiet verify "$WORK/target" >/dev/null || fail "verify failed"
for i in "${!names[@]}"; do
  restored "${names[$i]}"
  same_trees "$WORK/moment$((i + 1))" "$WORK/out$tree"
done
# Forward through the chain in one place: what was deleted in between goes.
restored "${names[0]}"
for i in 1 2 3 4 7; do
  "$UMBRA" --quiet restore "$WORK/target@${names[$i]}" --to "$WORK/out" >/dev/null || fail "restoring ${names[$i]} over its base failed"
  same_trees "$WORK/moment$((i + 1))" "$WORK/out$tree"
done
# Only some paths, from different backups of the chain, a hard link whose first name is not among them too.
rm -rf "$WORK/out"
"$UMBRA" --quiet restore "$WORK/target@${names[4]}" --to "$WORK/out" "$tree/second-name" "$tree/gone" "$tree/big" >/dev/null ||
  fail "restoring some paths failed"
[ "$(cd "$WORK/out$tree" && echo *)" = "big gone second-name" ] || fail "restored $(ls "$WORK/out$tree")"
cmp "$WORK/out$tree/second-name" "$WORK/moment5/second-name" && cmp "$WORK/out$tree/big" "$WORK/moment5/big" || fail "paths differ"
! "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/out" "$tree/never-there" 2>"$WORK/log" || fail "restored what is not there"
grep -q never-there "$WORK/log" || fail "the missing path is not named"

# A backup whose base is gone says so, and the next incremental one becomes full.
mv "$WORK/target/${names[2]}" "$WORK/elsewhere"
! "$UMBRA" --quiet restore "$WORK/target@${names[4]}" --to "$WORK/out" 2>"$WORK/log" || fail "restored without its base"
grep -q "stands on backup" "$WORK/log" || { cat "$WORK/log"; fail "the missing base is not named"; }
! "$UMBRA" --quiet verify "$WORK/target@${names[4]}" >/dev/null 2>&1 || fail "verified without its base"
keep incremental full
