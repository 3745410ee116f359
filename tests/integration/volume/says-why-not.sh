#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test asks about filesystems that cannot be frozen, or not be copied as an image, and gets the reason in words; the kernel
# agrees: FIFREEZE works exactly where umbra says so.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.ext2 mkfs.xfs mkfs.btrfs mkfs.vfat mke2fs fsfreeze

show() { "$BUILD/tests/volume-show" "$1" >"$WORK/shown" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"; }
get() { jq -r ".[0].$1" "$WORK/shown"; }
# check NAME WORDS: umbra and the kernel agree on $WORK/NAME; WORDS "-": it can be frozen
check() {
  show "$WORK/$1"
  if [ "$2" = - ]; then
    [ "$(get can_freeze)" = true ] || fail "$1 cannot be frozen: $(get freeze_why)"
    timeout 20 fsfreeze -f "$WORK/$1" || fail "the kernel does not freeze $1"
    cleanup_fn fsfreeze -u "$WORK/$1"
    # Frozen by somebody else: cannot be asked, shows at the freeze.
    fsfreeze -f "$WORK/$1" 2>"$WORK/messages" && fail "frozen twice"
    fsfreeze -u "$WORK/$1" || fail "the kernel does not thaw $1"
  else
    [ "$(get can_freeze)" = false ] || fail "$1 can be frozen, says umbra"
    [[ $(get freeze_why) == *"$2"* ]] || fail "$1: '$(get freeze_why)' does not say '$2'"
    timeout 20 fsfreeze -f "$WORK/$1" 2>/dev/null && { fsfreeze -u "$WORK/$1"; fail "the kernel freezes $1"; }
  fi
  return 0
}

make_volume e4 ext4 32M
check e4 -
make_volume e4plain ext4 32M -O ^has_journal
check e4plain -
make_volume e2 ext2 16M
check e2 -
make_volume x xfs 320M
check x -
[ "$(get image_why)" = null ] || fail "an XFS on one device: $(get image_why)"
make_volume b btrfs 128M 2>/dev/null
check b -
mount -o remount,ro "$WORK/e4"
check e4 -
if grep -qw vfat /proc/filesystems || modprobe vfat 2>/dev/null; then
  make_volume v vfat 16M
  check v "FAT has no freeze"
fi

mkdir "$WORK/t" "$WORK/ov" "$WORK/e4plain/upper" "$WORK/e4plain/work"
cleanup_fn umount "$WORK/t"
mount -t tmpfs none "$WORK/t"
check t "tmpfs lives in memory"
mkdir "$WORK/r"
cleanup_fn umount "$WORK/r"
mount -t ramfs none "$WORK/r"
# The kernel does freeze what it calls ramfs or not, by version: only our words count.
show "$WORK/r"
[[ $(get freeze_why) == *"lives in memory"* ]] || fail "ramfs: $(get freeze_why)"

if grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null; then
  cleanup_fn umount "$WORK/ov"
  mount -t overlay overlay -o "lowerdir=$WORK/t,upperdir=$WORK/e4plain/upper,workdir=$WORK/e4plain/work" "$WORK/ov"
  check ov "name '$WORK/e4plain/upper' instead, its upper directory on the ext4 volume '$WORK/e4plain'"
fi

# External journal and external log: frozen all the same, but one device is not the volume.
truncate -s 8M "$WORK/journal.img"
mke2fs -q -F -O journal_dev -b 4096 "$WORK/journal.img"
journal=$(losetup --find --show "$WORK/journal.img")
cleanup_fn losetup -d "$journal"
make_volume ej ext4 32M -b 4096 -J "device=$journal"
check ej -
[[ $(get image_why) == *"keeps its journal on another device"* ]] || fail "external journal: $(get image_why)"
show "$WORK/e4plain"
[ "$(get image_why)" = null ] || fail "no journal at all: $(get image_why)"

truncate -s 320M "$WORK/xl.img"
truncate -s 80M "$WORK/log.img"
log=$(losetup --find --show "$WORK/log.img")
cleanup_fn losetup -d "$log"
mkfs.xfs -q -f -l "logdev=$log" "$WORK/xl.img" >/dev/null
data=$(losetup --find --show "$WORK/xl.img")
cleanup_fn losetup -d "$data"
mkdir "$WORK/xl"
cleanup_fn umount "$WORK/xl"
mount -o "logdev=$log" "$data" "$WORK/xl"
check xl -
[[ $(get image_why) == *"'$log'"* ]] || fail "external log: $(get image_why)"

# Without rights it cannot be frozen either, and says so.
make_volume u ext4 16M
chmod 755 "$WORK"
setpriv --reuid=nobody --regid=nogroup --clear-groups "$BUILD/tests/volume-show" "$WORK/u" >"$WORK/shown" || fail "not as nobody"
[[ $(get freeze_why) == *"needs root"* ]] || fail "as nobody: $(get freeze_why)"
