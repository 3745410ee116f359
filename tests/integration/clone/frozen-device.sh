#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test clones ext4 and XFS under load, on whole disks and partitions of 512 and 4096 byte sectors: the image is clean and byte
# for byte the frozen device wherever something is allocated.
# timeout: 240
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/clone.sh"
requires_program partx python3 mkfs.ext4 mkfs.xfs

mkdir "$WORK/storage"
# clone_under_load FSTYPE DEVICE [MKFS OPTION...]
clone_under_load() {
  local type=$1 device=$2; shift 2
  mkfs."$type" -q "$@" "$device"
  mkdir -p "$WORK/volume"
  mount -t "$type" "$device" "$WORK/volume"
  busy_writers "$WORK/volume" 60
  drive --held "$(save_frozen "$device")" --then "$(save_image)" clone "$WORK/volume" "$WORK/storage" >"$WORK/record" || fail "clone of $type on $device"
  [ -z "$(ls -A "$WORK/storage")" ] || fail "something was left in the storage"
  stop_writers
  wait_for 10 umount "$WORK/volume" || fail "unmounting"
  check_image "$type" "$WORK/frozen" "$WORK/copy"
  rm "$WORK/frozen" "$WORK/copy"
}

truncate -s 320M "$WORK/disk"
device=$(losetup --find --show "$WORK/disk"); cleanup_fn losetup -d "$device"
cleanup_fn umount "$WORK/volume"
clone_under_load ext4 "$device"
clone_under_load ext4 "$device" -b 1024

truncate -s 400M "$WORK/disk4k"
device4k=$(losetup --find --show --sector-size 4096 --direct-io=on "$WORK/disk4k"); cleanup_fn losetup -d "$device4k"
clone_under_load xfs "$device4k" -f

truncate -s 420M "$WORK/parts"
parts=$(losetup --find --show "$WORK/parts"); cleanup_fn losetup -d "$parts"
add_partition "$parts" 1 2049 20001 && add_partition "$parts" 2 24001 820001 || fail "no partition"
wait_for 10 test -b "${parts}p2" || fail "no partitions appeared"
clone_under_load xfs "${parts}p2" -f
nothing_pinned
