#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test describes the devices of volumes on partitions of a loop device, and orders them: what lies on a file of another
# volume freezes first.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 partx python3 fsfreeze

show() { "$BUILD/tests/volume-show" "$@" >"$WORK/shown" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"; }
expect() { [ "$(jq -r "$1" "$WORK/shown")" = "$2" ] || fail "$1 is '$(jq -r "$1" "$WORK/shown")' and not '$2' in $(cat "$WORK/shown")"; }

truncate -s 96M "$WORK/disk"
disk=$(losetup --find --show --partscan --sector-size 4096 "$WORK/disk")
cleanup_fn losetup -d "$disk"
# Partitions by the kernel's own call (sectors of 512 bytes): no table and no partitioning program needed.
add_partition "$disk" 1 2048 $((32 * 2048)) && add_partition "$disk" 2 $((40 * 2048)) $((40 * 2048)) || fail "no partition"
name=$(basename "$disk")
# The kernel knows the partitions; that their nodes exist is not for us to rely on.
for p in 1 2; do
  node=$WORK/part$p
  IFS=: read -r major minor <"/sys/block/$name/${name}p$p/dev"
  mknod "$node" b "$major" "$minor"
  mkfs.ext4 -q -F -b 4096 "$node"
  mkdir "$WORK/p$p"
  cleanup_fn umount "$WORK/p$p"
  mount "$node" "$WORK/p$p"
done
show "$WORK/p1" "$WORK/p2"
expect '.[0].block_bytes' $((32 * 1024 * 1024))
expect '.[1].block_bytes' $((40 * 1024 * 1024))
expect '.[0].sector_bytes' 4096
expect '.[0].block_device' "$(cat "/sys/block/$name/${name}p1/dev")"
expect '.[0].can_freeze' true
expect '.[0].level' 0
expect '.[1].level' 0

# A volume in a file on the first partition, and one in a file on that.
for step in "p1 x" "x y"; do
  read -r lower upper <<<"$step"
  size=$([ "$upper" = x ] && echo 24M || echo 8M)
  truncate -s "$size" "$WORK/$lower/image"
  mkfs.ext4 -q -F "$WORK/$lower/image"
  device=$(losetup --find --show "$WORK/$lower/image")
  cleanup_fn losetup -d "$device"
  mkdir "$WORK/$upper"
  cleanup_fn umount "$WORK/$upper"
  mount "$device" "$WORK/$upper"
done
show "$WORK/p1" "$WORK/x" "$WORK/y" "$WORK/p2"
expect '[.[].level] | join(" ")' "2 1 0 0"
# The one in between left out: the order holds.
show "$WORK/y" "$WORK/p1"
expect '[.[].level] | join(" ")' "0 1"
# The file's name says nothing any more: the kernel still knows where it lies.
mv "$WORK/x/image" "$WORK/x/renamed"
show "$WORK/y" "$WORK/x"
expect '[.[].level] | join(" ")' "0 1"
rm "$WORK/x/renamed"
show "$WORK/y" "$WORK/x"
expect '[.[].level] | join(" ")' "0 1"
# Frozen in that order, thawed in reverse: nothing hangs.
for v in y x p1; do timeout 20 fsfreeze -f "$WORK/$v" || fail "freezing $v"; cleanup_fn fsfreeze -u "$WORK/$v"; done
for v in p1 x y; do timeout 20 fsfreeze -u "$WORK/$v" || fail "thawing $v"; done
