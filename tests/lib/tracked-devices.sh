# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced in a virtual machine, after functions.sh, with disks /dev/vda and /dev/vdb of 32 MiB or more: tracking and a clone on each kind
# of device there is.
# shellcheck shell=bash
export DM_DISABLE_UDEV=1

torture() { timeout 100 "$BUILD/tests/track-torture" "$@" || fail "track-torture $*"; }
# clone_of DEVICE FSTYPE: under load; clean and equal to the frozen device
clone_of() {
  mkfs."$2" -q "$1" && mkdir -p "$WORK/volume" "$WORK/storage" && mount -t "$2" "$1" "$WORK/volume" || fail "a volume on $1"
  background bash -c "i=0; while [ ! -e '$WORK/stop' ]; do i=\$((i + 1)); dd if=/dev/urandom of='$WORK/volume/'\$((i % 9)) bs=32k count=\$((1 + i % 9)) conv=fsync status=none; done"
  wait_for 20 test -e "$WORK/volume/3" || fail "the writer did not start"
  timeout 100 "$BUILD/tests/provider-drive" --held "dd if=$1 of=$WORK/frozen bs=1M iflag=direct status=none" \
    --then "cp \"\$IMAGE\" $WORK/copy" clone "$WORK/volume" "$WORK/storage" >"$WORK/record" || fail "clone of $1"
  : >"$WORK/stop"; wait "$PID" || true; rm "$WORK/stop"
  mkdir -p "$WORK/frozen-mount"
  mount -t "$2" -o loop,ro,noload "$WORK/frozen" "$WORK/frozen-mount" || fail "mounting the frozen device's copy"
  "$BUILD/tests/same-allocated" "$WORK/frozen-mount" "$WORK/frozen" "$WORK/copy" || fail "the image of $1 is not the frozen device"
  e2fsck -fn "$WORK/copy" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck"; fail "e2fsck of the image of $1"; }
  umount "$WORK/frozen-mount" "$WORK/volume"; rm "$WORK/frozen" "$WORK/copy"
}

uname -r
modprobe loop || fail "no module loop"
# A partition of a virtio disk.
"$TOP/tests/lib/add-partition" /dev/vda 1 2049 24001 || fail "no partition"
torture /dev/vda1 1 2
clone_of /dev/vda1 ext4

# Devices without requests: a RAM disk, device-mapper, MD.
modprobe brd rd_nr=1 rd_size=12288 || fail "no module brd"
# Linux 6.12 has a bug of its own where this one is discarded and written at once (BUG in copy_to_brd()).
torture /dev/ram0 1 2 no-discard
clone_of /dev/ram0 ext4
modprobe dm-mod || fail "no module dm-mod"
dmsetup create plain --table "0 24576 linear /dev/vdb 2048" || fail "dmsetup"
torture /dev/mapper/plain 1 2
clone_of /dev/mapper/plain ext4
dmsetup create split --table "$(printf '0 4095 linear /dev/vdb 0\n4095 12001 linear /dev/vdb 20000\n')" || fail "dmsetup"
torture /dev/mapper/split 1 2
dmsetup remove plain && dmsetup remove split || fail "dmsetup remove"
modprobe raid1 && modprobe raid0 || fail "no MD modules"
mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --size=12288 --metadata=1.2 --assume-clean /dev/vdb missing >"$WORK/md" 2>&1 || { cat "$WORK/md"; fail "mdadm"; }
torture /dev/md0 1 2
clone_of /dev/md0 ext4
mdadm --stop /dev/md0 >/dev/null 2>&1 || fail "mdadm --stop"
wipefs -qa /dev/vdb
dd if=/dev/zero of="$WORK/a" bs=1M count=6 status=none; dd if=/dev/zero of="$WORK/b" bs=1M count=6 status=none
a=$(losetup --find --show "$WORK/a"); b=$(losetup --find --show "$WORK/b")
mdadm --create /dev/md1 --run --level=0 --raid-devices=2 --chunk=16 --metadata=1.2 "$a" "$b" >"$WORK/md" 2>&1 || { cat "$WORK/md"; fail "mdadm"; }
torture /dev/md1 1 2

# A device that cannot be read in one place: named, with the offset.
dmsetup create broken --table "$(printf '0 20000 linear /dev/vdb 0\n20000 8 error\n20008 20000 linear /dev/vdb 20008\n')" || fail "dmsetup"
mkfs.ext4 -q -b 4096 -E nodiscard /dev/mapper/broken || fail "mkfs"
mkdir "$WORK/broken"; mount /dev/mapper/broken "$WORK/broken"
# All of it, so that the bad place is in use.
fallocate -l "$(($(stat -f -c %a "$WORK/broken") * 4096))" "$WORK/broken/all" || fail "fallocate"
mkdir -p "$WORK/storage"
expect_status 1 timeout 60 "$BUILD/tests/provider-drive" clone "$WORK/broken" "$WORK/storage"
expect_output "reading device '/dev/(mapper/broken|dm-[0-9]+)' at offset [0-9]+: "
[ -z "$(ls -A "$WORK/storage")" ] || fail "a failed clone left something"
umount "$WORK/broken"

# SCSI and NVMe, where the kernel has a disk made of memory.
# Nobody loads the disk driver by itself here.
if modprobe sd_mod 2>/dev/null && modprobe scsi_debug dev_size_mb=8 2>/dev/null; then
  disk=; wait_for 10 test -e /sys/bus/pseudo/drivers/scsi_debug/adapter0
  find_scsi() { disk=$(basename "$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/* 2>/dev/null | head -n 1)") && [ -b "/dev/$disk" ]; }
  wait_for 10 find_scsi || fail "no SCSI disk"
  torture "/dev/$disk" 1 2
  echo "scsi: /dev/$disk"
fi
