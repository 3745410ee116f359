#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes a scope of an XFS of version 4, which many kernels no longer mount: made by mkfs from a list of files, compared by
# what xfs_db reads of it.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"
requires_program mkfs.xfs xfs_db

head -c 5000000 /dev/urandom >"$WORK/large"
head -c 300 /dev/urandom >"$WORK/small"
{
  printf 'name\n0 0\nd--755 0 0\n'
  printf 'in d--755 0 0\n'
  printf ' large ---644 0 0 %s\n link l--777 0 0 somewhere\n sub d--755 0 0\n' "$WORK/large"
  # Enough names for a directory with leaf blocks.
  for i in $(seq 700); do printf '  a-long-name-of-an-entry-%s ---644 0 0 %s\n' "$i" "$WORK/small"; done
  printf ' $\n$\n'
  printf 'out d--755 0 0\n filler ---644 0 0 %s\n$\n$\n' "$WORK/large"
} >"$WORK/list"
truncate -s 330M "$WORK/source.img"
if ! mkfs.xfs -q -m crc=0 -p "$WORK/list" "$WORK/source.img" >"$WORK/mkfs" 2>&1; then
  grep -q 'crc=0' "$WORK/mkfs" || { cat "$WORK/mkfs" >&2; fail "mkfs.xfs"; }
  echo "this mkfs.xfs makes no version 4 any more"
  exit 0
fi
bytes=$("$SCOPE_IMAGE" "$WORK/source.img" "$WORK/part.img" xfs 12 in) || fail "no scope"
[ "$bytes" -le $(((5000000 + 700 * 4096) * 11 / 10 + (2 << 20))) ] || fail "$bytes bytes taken"

# show IMAGE COMMAND...: what xfs_db says of it
show() {
  local image=$1 commands=() command; shift
  for command; do commands+=(-c "$command"); done
  xfs_db -r "${commands[@]}" "$image" 2>&1
}
# contents IMAGE PATH: the bytes of all the extents it has in the source
contents() {
  local group_blocks first count group block
  group_blocks=$(show "$WORK/source.img" 'sb 0' 'p agblocks' | sed 's/.*= //')
  show "$WORK/source.img" "path $2" bmap | sed -n 's/.*(\([0-9]*\)\/\([0-9]*\)) count \([0-9]*\) .*/\1 \2 \3/p' | while read -r group block count; do
    first=$((group * group_blocks + block))
    dd if="$1" bs=4096 skip="$first" count="$count" status=none
  done
}
same() { [ "$(show "$WORK/source.img" "$@")" = "$(show "$WORK/part.img" "$@")" ] || fail "differs: $*"; }
same 'ls /' 'ls /in' 'ls /in/sub'
show "$WORK/part.img" 'ls /in/sub' | grep -q 'a-long-name-of-an-entry-700 (good)' || fail "entries are missing"
same 'path /in/link' p
for file in large sub/a-long-name-of-an-entry-1 sub/a-long-name-of-an-entry-700; do
  same "path /in/$file" p
  [ "$(contents "$WORK/source.img" "/in/$file" | wc -c)" -gt 0 ] || fail "/in/$file has no extents"
  contents "$WORK/source.img" "/in/$file" | cmp - <(contents "$WORK/part.img" "/in/$file") || fail "/in/$file differs"
done
contents "$WORK/part.img" /in/large | head -c 5000000 | cmp - "$WORK/large" || fail "/in/large is not what was stored"
! contents "$WORK/source.img" /out/filler | cmp -s - <(contents "$WORK/part.img" /out/filler) || fail "/out/filler was taken"
