# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh and vm.sh by tests of attached volumes that are device-mapper devices: in a guest, whose disks are /dev/vda….
# shellcheck shell=bash
. "$TOP/tests/lib/attached.sh"
. "$TOP/tests/lib/order.sh"
export DM_DISABLE_UDEV=1
for module in dm-mod loop fuse; do modprobe "$module" 2>/dev/null || true; done

# mapped_volume NAME FSTYPE DISK [ATTACH OPTION...]: the disk attached as NAME by front $FRONT, with a filesystem, mounted at $WORK/NAME
FRONT=${FRONT:-fuse} STORAGE=${STORAGE:-$WORK}
mapped_volume() {
  local name=$1 type=$2 disk=$3; shift 3
  wipefs -aq "$disk"
  cleanup_fn attached_away "$name"
  "$UMBRA" attach --front "$FRONT" --storage "$STORAGE" "$@" "$disk" "$name" >"$WORK/attach.out" || fail "attach $disk"
  [[ $(readlink "/dev/umbra/$name") == /dev/dm-* ]] || fail "/dev/umbra/$name is $(readlink "/dev/umbra/$name")"
  case $type in
    ext4) mkfs.ext4 -q "/dev/umbra/$name" ;;
    xfs) mkfs.xfs -q -f "/dev/umbra/$name" ;;
  esac
  mkdir -p "$WORK/$name"
  cleanup_fn umount "$WORK/$name"
  mount "/dev/umbra/$name" "$WORK/$name"
}

# way NAME: what the kernel does with the volume's I/O: direct, engine, or something that it must not be
way() {
  local table front
  table=$(dmsetup table "umbra-$1")
  front=$(stat -c %Hr:%Lr "$(readlink "$UMBRA_RUNTIME_DIR/attached/$1/front-device")")
  case $(dmsetup info -c --noheadings --separator , -o suspended,tables_loaded "umbra-$1") in
    Active,Live) ;;
    Active,*) echo half-switched; return ;;
    *) echo suspended; return ;;
  esac
  case $table in
    "0 "*" linear $front 0") echo engine ;;
    "0 "*" linear "*" 0") echo direct ;;
    *) echo "$table" ;;
  esac
}
is_way() { [ "$(way "$1")" = "$2" ]; }
# The server's answer is the kernel's.
goes() {
  wait_for 60 is_way "$1" "$2" || fail "$1 goes by '$(way "$1")', not by '$2'"
  wait_for 60 says_way "$1" "$2" || fail "the server of $1 says '$(attached_status "$1" way)', it is $2"
}
says_way() { [ "$(attached_status "$1" way)" = "$2" ]; }

# nothing_mapped: no device-mapper device of umbra's, and of attached volumes nothing else either
nothing_mapped() {
  [ "$(dmsetup ls | grep -c umbra || true)" = 0 ] || fail "left: $(dmsetup ls)"
  ! losetup -nlO BACK-FILE | grep -q attached || fail "left: $(losetup -nlO NAME,BACK-FILE)"
  no_attached_left
}

# plain_again NAME DISK: unmounted and detached, the disk is what the volume was, byte for byte, in its page cache, too, and clean
plain_again() {
  local type
  type=$(findmnt -no FSTYPE "$WORK/$1")
  exec {kept_open}<"$2" # what was read of the disk before does not go with its last user
  dd if="$2" of=/dev/null bs=1M count=32 status=none
  dd if=/dev/urandom of="$WORK/$1/last" bs=1M count=4 status=none
  umount "$WORK/$1"
  cp --sparse=always "/dev/umbra/$1" "$WORK/copy"
  "$UMBRA" detach "$1" || fail "detach $1"
  cmp "$2" "$WORK/copy" || fail "the disk is not what the volume was"
  exec {kept_open}<&-
  if [ "$type" = ext4 ]; then e2fsck -fn "$2" >"$WORK/fsck" 2>&1; else xfs_repair -n "$2" >"$WORK/fsck" 2>&1; fi ||
    { cat "$WORK/fsck" >&2; fail "$type is damaged"; }
}
