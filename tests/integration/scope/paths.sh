#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test asks for scopes by all kinds of paths: single files, several, nested, a link, the root, missing ones, one through a link,
# names with newlines and bytes that are no UTF-8; what is next to a path is not taken.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"

# bytes_of TYPE PATH...: how many bytes a scope of these paths takes
bytes_of() {
  local type=$1; shift
  scope_extract "$type" 12 "$@"
  rm "$PART"
}

for type in ext4 xfs; do
  case $type in
    ext4) scope_make ext4 200M "800 600 900 100" -b 1024 ;;
    xfs) scope_make xfs 330M "800 600 900 100" ;;
  esac
  scope_compare "$type" 12 in/large
  scope_compare "$type" 12 in/deep in/dir-800/entry-0 in/dir-100 in/dir-100/entry-7
  scope_compare "$type" 12 "in/new"$'\n'"line" "in/bytes-"$'\xff\xfe\x80' in/long-link in/fifo in/linked-to-outside
  scope_compare "$type" 12 /in//dir-1/./ out/neighbour-5

  bytes_of "$type" in/dir-1
  small=$BYTES
  bytes_of "$type" in/no-such-file no/such/directory in/large/below-a-file
  [ "$BYTES" -le "$small" ] || fail "$type: missing paths take $BYTES bytes, a small one $small"
  ln -s dir-800 "$WORK/source/in/through"
  bytes_of "$type" in/through/entry-0
  [ "$BYTES" -le $((small + 65536)) ] || fail "$type: a path through a link took $BYTES bytes, a small one $small"
  bytes_of "$type" in/large
  [ "$BYTES" -ge $((3 << 20)) ] || fail "$type: a file of 3 MiB took $BYTES bytes"
  [ "$BYTES" -le $(((3 << 20) + (2 << 20))) ] || fail "$type: a file of 3 MiB took $BYTES bytes"
  # The whole.
  for root in / . ''; do
    bytes_of "$type" "$root"
    [ "$BYTES" -ge $((10 << 20)) ] || fail "$type: '$root' took $BYTES bytes"
  done
  scope_drop
done

# What is no filesystem of that kind, or none at all, is refused in words.
truncate -s 1M "$WORK/zeros.img"
for type in ext4 xfs; do
  expect_status 1 "$SCOPE_IMAGE" "$WORK/zeros.img" "$WORK/part.img" "$type" 12 in
  expect_output '^scope-image: (no ext4 filesystem|reading XFS): .*superblock'
  expect_status 1 "$SCOPE_IMAGE" --live "$WORK/zeros.img" "$WORK/part.img" "$type" 12 in
done
expect_status 1 "$SCOPE_IMAGE" "$WORK/zeros.img" "$WORK/part.img" vfat 12 in
expect_output "no way to read 'vfat'"
