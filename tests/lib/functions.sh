# Sourced by every test script. Gives: $UMBRA (the program), $WORK (private directory, removed at any end), cleanup,
# requirements (exit 77 = skipped with a reason), volumes on loop devices.
# shellcheck shell=bash
set -euo pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${UMBRA_BUILD:-$TOP/build}
UMBRA=$BUILD/umbra
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C

WORK=$(mktemp -d /var/tmp/umbra-test.XXXXXXXX)
export UMBRA_STATE_DIR=$WORK/state UMBRA_RUNTIME_DIR=$WORK/run UMBRA_CONFIG_DIR=$WORK/etc
mkdir "$UMBRA_STATE_DIR" "$UMBRA_RUNTIME_DIR" "$UMBRA_CONFIG_DIR"

cleanup_commands=()
# cleanup_fn COMMAND...: runs at exit, last registered first. Register before the thing is made.
cleanup_fn() { cleanup_commands=("$(printf '%q ' "$@")" "${cleanup_commands[@]}"); }
cleanup_run() {
  local status=$? command
  trap - EXIT
  set +e
  for command in "${cleanup_commands[@]}"; do eval "$command" >/dev/null 2>&1; done
  # What the test itself mounted below $WORK and forgot; deepest first.
  for m in $(awk -v w="$WORK/" 'index($2, w) == 1 { print $2 }' /proc/mounts | sort -r); do umount -l "$m"; done
  rm -rf --one-file-system "$WORK"
  exit "$status"
}
trap cleanup_run EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*" >&2; exit 1; }
requires_program() { for p in "$@"; do command -v "$p" >/dev/null || skip "program '$p' is not installed"; done; }
requires_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# loop_device FILE: prints a loop device over FILE, detached at exit
loop_device() {
  local device
  device=$(losetup --find --show "$@")
  echo "$device"
}

# make_volume NAME FSTYPE SIZE [MKFS OPTION...]: $WORK/NAME.img with a filesystem, mounted at $WORK/NAME; sets DEVICE
make_volume() {
  local name=$1 type=$2 size=$3; shift 3
  truncate -s "$size" "$WORK/$name.img"
  case $type in
    ext*) mkfs."$type" -q -F "$@" "$WORK/$name.img" ;;
    xfs) mkfs.xfs -q -f "$@" "$WORK/$name.img" ;;
    btrfs) mkfs.btrfs -q -f "$@" "$WORK/$name.img" ;;
    vfat) mkfs.vfat "$@" "$WORK/$name.img" >/dev/null ;;
  esac
  DEVICE=$(losetup --find --show "$WORK/$name.img")
  cleanup_fn losetup -d "$DEVICE"
  mkdir -p "$WORK/$name"
  cleanup_fn umount -R "$WORK/$name"
  mount -t "$type" "$DEVICE" "$WORK/$name"
}
