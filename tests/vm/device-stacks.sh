#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test builds volumes on partitions, MD arrays, LVM and plain device-mapper in a virtual machine: each is found and told in words,
# freezes and thaws, and what lies on whom decides the order.
# timeout: 200
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 mkfs.xfs pvcreate lvcreate dmsetup mdadm python3 fsfreeze
in_vm --disk 192M --disk 192M --disk 1G

export DM_DISABLE_UDEV=1
for module in raid1 dm-mod loop; do modprobe "$module" || fail "no module $module"; done

examine() { "$BUILD/tests/volume-show" --examine "$@" >"$WORK/shown" || fail "volume-show"; }
get() { jq -r ".[0] | $1" "$WORK/shown"; }
# check MOUNTPOINT WORDS: told in these words, and it freezes and thaws
check() {
  examine "$1"
  [ "$(get .lies_on)" = "$2" ] || fail "$1 lies on '$(get .lies_on)', expected '$2'"
  [ "$(get .freeze.can)" = true ] || fail "$1: $(get .freeze.why)"
  [ "$(get '.tracking.can')" = true ] || fail "$1 cannot be tracked: $(get .tracking.why)"
  timeout 20 fsfreeze -f "$1" || fail "freezing $1"
  timeout 20 fsfreeze -u "$1" || fail "thawing $1"
}
volume() { mkfs."$3" -q "$2" && mkdir "$WORK/$1" && mount "$2" "$WORK/$1"; }

# A partition of a virtio disk.
"$TOP/tests/lib/add-partition" /dev/vdc 1 2048 $((96 * 2048)) && "$TOP/tests/lib/add-partition" /dev/vdc 2 $((100 * 2048)) $((320 * 2048)) || fail "no partition"
volume part /dev/vdc1 ext4
check "$WORK/part" "partition 1 of virtio disk /dev/vdc"
[ "$(get .size_bytes)" = $((96 * 1024 * 1024)) ] || fail "size $(get .size_bytes)"

# LVM on an MD mirror of two disks.
mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean /dev/vda /dev/vdb >/dev/null 2>&1 || fail "mdadm"
pvcreate -qq /dev/md0 && vgcreate -qq vg /dev/md0 && lvcreate -qq -L 64M -n home -Wn -Zn vg || fail "LVM"
volume home /dev/vg/home ext4
check "$WORK/home" "LVM volume 'vg-home' on MD array (raid1) /dev/md0 on virtio disk /dev/vda and virtio disk /dev/vdb"
[[ $(get .device) == /dev/mapper/vg-home || $(get .device) == /dev/vg/home ]] || fail "device $(get .device)"

# Plain device-mapper over a partition, XFS.
dmsetup create plain --table "0 $((320 * 2048)) linear /dev/vdc2 0" || fail "dmsetup"
volume plain /dev/mapper/plain xfs
check "$WORK/plain" "device-mapper device 'plain' on partition 2 of virtio disk /dev/vdc"

# A volume on device-mapper on a loop device on the LVM volume.
truncate -s 32M "$WORK/home/image"
loop=$(losetup --find --show "$WORK/home/image")
dmsetup create upper --table "0 $((32 * 2048)) linear $loop 0" || fail "dmsetup"
volume upper /dev/mapper/upper ext4
check "$WORK/upper" "device-mapper device 'upper' on loop device $loop over the file '$WORK/home/image'"
"$BUILD/tests/volume-show" "$WORK/home" "$WORK/upper" "$WORK/part" "$WORK/plain" >"$WORK/shown" || fail "levels"
[ "$(jq -r '[.[].level] | join(" ")' "$WORK/shown")" = "1 0 0 0" ] || fail "levels $(jq -c '[.[].level]' "$WORK/shown")"
