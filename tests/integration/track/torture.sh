#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test writes to loop devices from several threads while rounds of tracking copy them: no write is lost, nothing is read
# unmarked that changed, on disks of 512 and 4096 byte sectors and on a partition, with one and with three copies of the program.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program losetup partx python3

torture() { timeout 120 "$BUILD/tests/track-torture" "$@" || fail "track-torture $*"; }

truncate -s 32M "$WORK/disk"
device=$(losetup --find --show "$WORK/disk"); cleanup_fn losetup -d "$device"
torture "$device" 40 40
torture "$device" 5 10 sturdy
# As on kernels before 6.2.
UMBRA_TRACK_INDIRECT=1 torture "$device" 10 10

truncate -s 32M "$WORK/disk4k"
device=$(losetup --find --show --sector-size 4096 --direct-io=on "$WORK/disk4k"); cleanup_fn losetup -d "$device"
torture "$device" 8 20

# Odd beginning and end: neither of the granule's size.
truncate -s 64M "$WORK/parts"
device=$(losetup --find --show "$WORK/parts"); cleanup_fn losetup -d "$device"
add_partition "$device" 1 2049 20001 && add_partition "$device" 2 24000 65535 || fail "no partition"
wait_for 10 test -b "${device}p2" || fail "no partitions appeared"
torture "${device}p2" 8 20
torture "${device}p1" 3 10
