# Sourced by every test script. Gives: $UMBRA (the program), $WORK (private directory, removed at any end), cleanup,
# requirements (exit 77 = skipped with a reason), volumes on loop devices.
# shellcheck shell=bash
set -euo pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${UMBRA_BUILD:-$TOP/build}
UMBRA=$BUILD/umbra
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C

WORK=$(mktemp -d "${UMBRA_TEST_DIRECTORY:-/var/tmp}/umbra-test.XXXXXXXX")
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

# wait_for SECONDS COMMAND...: until the command succeeds; fails after SECONDS. The condition is what counts, not the time.
wait_for() {
  local deadline=$(($(date +%s%N) + $1 * 1000000000)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt "$deadline" ] || return 1
    sleep 0.02
  done
}

# background COMMAND...: starts it, sets PID, kills and reaps it at exit
background() {
  "$@" &
  PID=$!
  cleanup_fn kill_and_wait "$PID"
}
kill_and_wait() { kill -KILL "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }

# expect_status N COMMAND...: fails unless the command ends with status N; its output is in $WORK/output
expect_status() {
  local wanted=$1 status=0; shift
  "$@" >"$WORK/output" 2>&1 || status=$?
  [ "$status" = "$wanted" ] || { cat "$WORK/output" >&2; fail "status $status instead of $wanted: $*"; }
}

# expect_output PATTERN: the output of the last expect_status matches the extended regular expression
expect_output() { grep -qE -- "$1" "$WORK/output" || { cat "$WORK/output" >&2; fail "the output lacks: $1"; }; }

# accepts_write DIRECTORY SECONDS: a new file can be written there within that time, so that it is not frozen
accepts_write() { "$BUILD/tests/accepts-write" "$1" "$2" >/dev/null; }

# losetup as it is, but finding a free device is tried again when another test was faster.
losetup() {
  local try
  for try in {1..20}; do
    command losetup "$@" && return
    [[ " $* " == *" --find "* || " $* " == *" -f "* ]] || return 1
  done
  echo "no free loop device in $try tries" >&2
  return 1
}

# add_partition DISK NUMBER START_SECTOR SECTORS: a partition that goes at exit. A loop device that is detached keeps its partitions
# for whoever gets its number next, so before the first one those of a test that was killed go.
add_partition() {
  [ "$2" != 1 ] || partx --delete --nr 1:8 "$1" 2>/dev/null || true
  cleanup_fn partx --delete --nr "$2" "$1"
  "$TOP/tests/lib/add-partition" "$@"
}

# make_volume NAME FSTYPE SIZE [MKFS OPTION...]: $WORK/NAME.img with a filesystem, mounted at $WORK/NAME; sets DEVICE
make_volume() {
  local name=$1 type=$2 size=$3; shift 3
  truncate -s "$size" "$WORK/$name.img"
  case $type in
    ext*) mkfs."$type" -q -F "$@" "$WORK/$name.img" ;;
    xfs) mkfs.xfs -q -f "$@" "$WORK/$name.img" ;;
    btrfs) mkfs.btrfs -q -f "$@" "$WORK/$name.img" >/dev/null ;;
    vfat) mkfs.vfat "$@" "$WORK/$name.img" >/dev/null ;;
  esac
  DEVICE=$(losetup --find --show "$WORK/$name.img")
  cleanup_fn losetup -d "$DEVICE"
  mkdir -p "$WORK/$name"
  cleanup_fn umount -R "$WORK/$name"
  mount -t "$type" "$DEVICE" "$WORK/$name"
}
