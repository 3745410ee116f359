#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes clones fail: storage limit, storage full before and in mid-copy, cancelled, read errors of btrfs and of volumes without
# a device. Each is said with the storage or volume named, and nothing is left: no file, no BPF link, no frozen volume.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/clone.sh"
requires_program mkfs.ext4 mkfs.btrfs

make_volume v ext4 300M
dd if=/dev/urandom of="$WORK/v/data" bs=1M count=100 status=none
sync -f "$WORK/v"
mkdir "$WORK/storage"
nothing_left() {
  [ -z "$(ls -A -I lost+found "${1:-$WORK/storage}")" ] || fail "files were left: $(ls "${1:-$WORK/storage}")"
  nothing_pinned
  accepts_write "$WORK/v" 5 || fail "the volume is frozen"
}

expect_status 1 drive --storage-max 50000000 clone "$WORK/v" "$WORK/storage"
expect_output "the shadow copy needs [0-9]+ bytes in storage '$WORK/storage', its limit is 50000000"
nothing_left

truncate -s 64M "$WORK/small.img"; mkfs.ext4 -q "$WORK/small.img"
mkdir "$WORK/small"; cleanup_fn umount "$WORK/small"; mount -o loop "$WORK/small.img" "$WORK/small"
expect_status 1 drive clone "$WORK/v" "$WORK/small"
expect_output "the shadow copy needs [0-9]+ bytes more in storage '$WORK/small', where [0-9]+ may be used"
nothing_left "$WORK/small"

# Full in the last round: the volume grows by what the storage no longer holds, after the copy and before the hold.
truncate -s 180M "$WORK/tight.img"; mkfs.ext4 -q "$WORK/tight.img"
mkdir "$WORK/tight"; cleanup_fn umount "$WORK/tight"; mount -o loop "$WORK/tight.img" "$WORK/tight"
expect_status 1 drive --prepared "dd if=/dev/urandom of=$WORK/v/more bs=1M count=80 conv=fsync status=none" clone "$WORK/v" "$WORK/tight"
expect_output "the shadow copy needs .* in storage '$WORK/tight'"
nothing_left "$WORK/tight"
rm "$WORK/v/more"

expect_status 1 drive --cancel-at 30000000 clone "$WORK/v" "$WORK/storage"
expect_output "cancelled"
nothing_left

make_volume b btrfs 200M
expect_status 1 drive clone "$WORK/b" "$WORK/storage"
expect_output "btrfs"
mkdir "$WORK/t"; cleanup_fn umount "$WORK/t"; mount -t tmpfs none "$WORK/t"
expect_status 1 drive clone "$WORK/t" "$WORK/storage"
nothing_left

# And it works when nothing is in the way.
drive --persistent clone "$WORK/v" "$WORK/storage" >"$WORK/record" || fail "the last one should work"
nothing_left
