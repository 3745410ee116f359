#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes a second copy out of a kept store: only what changed is copied, deletions arrive; a store with a damaged, cut off, foreign or
# missing table is refused and replaced; without named storage nothing is kept; a store being used is not kept twice.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs python3

make_volume v xfs 300M
make_volume s ext4 300M
STORAGE=$WORK/s/store; mkdir "$STORAGE"
volume=$WORK/v
for i in $(seq 300); do echo "$i" >"$volume/$i"; done
"$ODD_TREE" "$(mkdir "$volume/odd"; echo "$volume/odd")"
head -c 20M /dev/urandom >"$volume/large"
old_enough() { [ "$(find "$volume" -newerct '3 seconds ago' | wc -l)" = 0 ]; }
wait_for 20 old_enough || fail "files stay new"

copy_of "$volume" || fail "no copy"
[ -z "$(ls "$STORAGE")" ] || fail "something was kept without being asked for"
copy_of "$volume" --named || fail "no copy"
grep -q '^phase copy' "$WORK/drive" || fail "the first copy is no whole one"
kept=$(echo "$STORAGE"/kept-*)
[ -s "$kept/table" ] || fail "no store was kept"
inode=$(stat -c %i "$kept/tree/large")
blocks_written() { awk '{ print $7 }' "/sys/class/block/$(basename "$DEVICE")/stat"; }

echo changed >"$volume/5"; rm "$volume/6"; mkdir "$volume/7.d"; rm "$volume/odd/plain/link1"
copy_of "$volume" --named --then "$SAME_TREE $volume \$IMAGE" || fail "the refreshed copy differs"
grep -q '^phase refresh' "$WORK/drive" || fail "the kept store was not taken over"
[ "$(stat -c %i "$kept/tree/large")" = "$inode" ] || fail "what had not changed was copied again"

# Another scope is another store.
copy_of "$volume" --named -- "$volume/odd" || fail "no copy"
grep -q '^phase copy' "$WORK/drive" || fail "a store of another scope was taken over"

damage() {
  local what=$1; shift
  "$@"
  copy_of "$volume" --named --then "$SAME_TREE $volume \$IMAGE" || fail "the copy after $what differs"
  grep -q '^phase copy' "$WORK/drive" || fail "a kept store with $what was taken over"
  grep -q 'cannot be used' "$WORK/drive" || fail "nobody was told of $what"
  [ "$(find "$STORAGE" -mindepth 1 -maxdepth 1 | wc -l)" = 2 ] || fail "something is left over after $what"
}
flip() { python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))' "$kept/table" "$1"; }
damage "a flipped bit in a record" flip 1000
damage "a flipped bit in the header" flip 30
damage "a table cut off" truncate -s -100 "$kept/table"
damage "an empty table" truncate -s 0 "$kept/table"
damage "no table" rm "$kept/table"
damage "no tree" rm -r "$kept/tree"
other=$(find "$STORAGE" -mindepth 1 -maxdepth 1 -name 'kept-*' ! -path "$kept")
damage "another store's table" cp "$other/table" "$kept/table"

# A set that fails does not leave its half-refreshed store for the next.
! copy_of "$volume" --named --thawed false 2>/dev/null || fail "the set did not fail"
copy_of "$volume" --named --then "$SAME_TREE $volume \$IMAGE" || fail "the copy differs"
