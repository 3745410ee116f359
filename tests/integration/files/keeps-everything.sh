#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies a tree of odd files (names, owners, times, links, holes, devices, attributes, ACLs, capabilities) from ext4, XFS
# and btrfs and finds all of it in the copy, whether it was there from the start, made between the rounds, or made right before the hold.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs mkfs.btrfs rsync setfacl setfattr setcap

for type in ext4 xfs btrfs; do
  make_volume "$type" $type 300M
  volume=$WORK/$type
  mkdir "$volume/first"
  "$ODD_TREE" "$volume/first"
  copy_of "$volume" --prepared "mkdir $volume/second && $ODD_TREE $volume/second" \
    --precommitted "mkdir $volume/third && $ODD_TREE $volume/third" \
    --then "$SAME_TREE $volume \$IMAGE && du -sk \$IMAGE >$WORK/blocks" ||
    fail "$type: the copy differs"
  live=$(du -sk "$volume" | cut -f1) copy=$(cut -f1 "$WORK/blocks")
  # Holes stay holes: the three trees have 42 MiB of them.
  [ "$copy" -le $((live + 4096)) ] || fail "$type: the copy takes $copy KiB, the volume $live"
  [ -z "$(ls "$STORAGE")" ] || fail "$type: something is left in the storage"
done
