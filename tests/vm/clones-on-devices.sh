#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test clones volumes under the order writer on devices that need a virtual machine: LVM on an MD mirror, device-mapper on a
# partition, an NVMe namespace. Each clone has to be one instant and clean.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 mkfs.xfs pvcreate lvcreate dmsetup mdadm python3
in_vm --timeout 580 --mem 1G --disk 128M --disk 128M --disk 128M --disk 160M --disk 700M
. "$TOP/tests/lib/order.sh"

export DM_DISABLE_UDEV=1
load() { modprobe "$@" || fail "no module $1"; }
for module in raid1 dm-mod loop nvmet nvme-loop; do load "$module"; done
trace() { echo "$SECONDS s: $*"; }

mkfs.ext4 -q /dev/vde && mkdir "$WORK/storage" && mount /dev/vde "$WORK/storage" || fail "storage"
SET_OPTIONS=(--provider clone --storage "$WORK/storage")

# prove NAME DEVICE: a volume on it, cloned while it is written to
prove() {
  trace "$1 on $2"
  mkfs.ext4 -q "$2" && mkdir "$WORK/$1" && mount "$2" "$WORK/$1" || fail "a volume on $2"
  order_start "$WORK/$1"
  prove_set "$1"
  order_stop
  order_judge "$LAST" "$LAST" "$WORK/$1/order"
  umount "$WORK/$1"
}

mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean /dev/vdb /dev/vdc >/dev/null 2>&1 || fail "mdadm"
pvcreate -qq -ff -y /dev/md0 && vgcreate -qq vg /dev/md0 && lvcreate -qq -L 100M -n home -Wn -Zn vg 2>/dev/null || fail "LVM"
prove lvm /dev/vg/home

"$TOP/tests/lib/add-partition" /dev/vdd 1 2048 $((150 * 2048)) && dmsetup create plain --table "0 $((149 * 2048)) linear /dev/vdd1 2048" || fail "dmsetup"
prove mapped /dev/mapper/plain

# An NVMe controller whose namespace is /dev/vda, by the kernel's own target over its loop transport.
nvmet=/sys/kernel/config/nvmet
mount -t configfs none /sys/kernel/config 2>/dev/null || true
mkdir -p $nvmet/subsystems/umbra/namespaces/1 $nvmet/ports/1 || fail "nvmet"
echo 1 >$nvmet/subsystems/umbra/attr_allow_any_host
echo -n /dev/vda >$nvmet/subsystems/umbra/namespaces/1/device_path
echo 1 >$nvmet/subsystems/umbra/namespaces/1/enable
echo loop >$nvmet/ports/1/addr_trtype
ln -s $nvmet/subsystems/umbra $nvmet/ports/1/subsystems/umbra
echo "transport=loop,nqn=umbra" >/dev/nvme-fabrics || fail "nvme connect"
wait_for 20 test -b /dev/nvme0n1 || fail "no NVMe namespace"
prove nvme /dev/nvme0n1
trace "done"
