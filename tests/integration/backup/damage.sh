#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test flips bits all over the files of a backup, cuts them off and takes them away, and expects verify to find each and restore
# to name what is lost, to bring back the rest, and never to bring back wrong data.
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 jq

tree=$WORK/tree
mkdir -p "$tree/d"
for i in $(seq 30); do head -c 300000 /dev/urandom >"$tree/d/file$i"; done # three frames of 4 MiB
for i in $(seq 50); do echo "small $i" >"$tree/d/small$i"; done
full=$(live full "$tree")
after_tick
echo more >>"$tree/d/small7"
incremental=$(live incremental "$tree")
cp -a "$WORK/target" "$WORK/good"

# only_right_data: every file that was restored is as it was saved
only_right_data() {
  local f
  while IFS= read -r f; do
    cmp -s "$WORK/out/$f" "/$f" || fail "$1: '$f' was restored with wrong data"
  done < <(cd "$WORK/out" && find . -type f -printf '%P\n')
}

# damaged WHAT: restore and verify of the damaged target
damaged() {
  local status=0
  rm -rf "$WORK/out"
  ! timeout 60 "$UMBRA" --quiet verify "$WORK/target" >"$WORK/verify.log" 2>&1 || fail "$1: verify found nothing"
  timeout 60 "$UMBRA" --quiet restore "$WORK/target@${2:-latest}" --to "$WORK/out" >"$WORK/restore.log" 2>&1 || status=$?
  [ "$status" -le 1 ] || { cat "$WORK/restore.log"; fail "$1: restore ended with $status"; }
  mkdir -p "$WORK/out"
  only_right_data "$1"
  if [ "$status" = 0 ]; then
    same_trees "$tree" "$WORK/out$tree" # what was hit is not needed for this
  else
    grep -q '^umbra: ' "$WORK/restore.log" || fail "$1: restore did not say what is wrong"
  fi
  cp -a "$WORK/good/$name/." "$WORK/target/$name/"
}

flip() { # FILE OFFSET
  python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1)[0]
    f.seek(int(sys.argv[2])); f.write(bytes([b ^ 1 << int(sys.argv[2]) % 8]))' "$1" "$2"
}

for name in "$full" "$incremental"; do
  for file in files.tar.zst index.zst backup.json; do
    size=$(stat -c %s "$WORK/target/$name/$file")
    for part in 0 23 58 91; do
      flip "$WORK/target/$name/$file" $((size * part / 100))
      damaged "$name/$file flipped at $part %"
    done
    flip "$WORK/target/$name/$file" $((size - 3))
    # The newline at the end of a document is nothing that could be wrong.
    [ "$file" = backup.json ] && cp -a "$WORK/good/$name/." "$WORK/target/$name/" || damaged "$name/$file flipped near its end"
    truncate -s $((size * 2 / 3)) "$WORK/target/$name/$file"
    damaged "$name/$file cut off"
    rm "$WORK/target/$name/$file"
    damaged "$name/$file missing"
  done
done

# A bit in the middle of the archive costs the files of one frame, and each is named; the others come back.
size=$(stat -c %s "$WORK/target/$full/files.tar.zst")
flip "$WORK/target/$full/files.tar.zst" $((size / 2))
rm -rf "$WORK/out"
! "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/out" >/dev/null 2>"$WORK/restore.log" || fail "restored a damaged archive"
lost=$(grep -c 'is not restored' "$WORK/restore.log")
[ "$lost" -ge 1 ] && [ "$lost" -le 20 ] || { cat "$WORK/restore.log"; fail "$lost files lost by one bit"; }
[ $((lost + $(find "$WORK/out$tree" -type f -printf x | wc -c))) = 80 ] || fail "files neither named nor restored"
only_right_data "one bit"
# What was there stays when its replacement is damaged.
cp -a "$tree/." "$WORK/out$tree/"
! "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/out" >/dev/null 2>&1 || fail "restored a damaged archive"
[ "$(find "$WORK/out$tree" -type f -printf x | wc -c)" = 80 ] || fail "files were removed for damaged ones"
only_right_data "over good files"

name=$incremental
# Two archives changed for each other: right checksums in the wrong place.
cp -a "$WORK/good/." "$WORK/target/"
cp "$WORK/target/$full/index.zst" "$WORK/target/$incremental/index.zst"
damaged "an index of another backup"
cp "$WORK/target/$full/files.tar.zst" "$WORK/target/$incremental/files.tar.zst"
damaged "an archive of another backup"
[ -z "$(find "$WORK" -name '.umbra-*' -print -quit)" ] || fail "a temporary file was left"
