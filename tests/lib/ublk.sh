# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced, after functions.sh and attached.sh, by tests of the ublk front in a virtual machine: /dev/vda is attached as srv, with storage on
# /dev/vdb and its filesystem mounted at $WORK/v.
# shellcheck shell=bash

NAME=srv V=/dev/umbra/srv ORIGIN=/dev/vda
modprobe -a loop fuse
cleanup_fn attached_away "$NAME"
mkdir "$WORK/v"
cleanup_fn umount -R "$WORK/v"

attach() { "$UMBRA" attach --dm no --storage /dev/vdb --limit "${LIMIT:-500000000}" "$@" "$ORIGIN" "$NAME"; }
create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }
sum() { dd if="$UMBRA_RUNTIME_DIR/attached/$NAME/mnt/shadow-$1" bs=1M status=none | sha256sum; }
field() { attached_status "$NAME" "$1"; }
tree_of() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }
ended() { ! kill -0 "$1" 2>/dev/null; }

# load NAME OPTION...: fio over a file or device, that checks what it reads; its pid in LOAD
load() {
  local name=$1; shift
  # Writes and reads back until it is told to end: what is lost or torn is an error at once.
  fio --thread --name="$name" --rw=randwrite --bs=4k --ioengine=io_uring --direct=1 --verify=crc32c --verify_backlog=256 --verify_fatal=1 \
    --verify_state_save=0 --time_based --runtime=600 --output="$WORK/$name.out" "$@" >/dev/null 2>&1 &
  LOAD=$!
  cleanup_fn kill_and_wait "$LOAD"
}
# load_ends NAME: told to end; what it saw is in its report
load_ends() {
  kill -0 "$LOAD" 2>/dev/null || { cat "$WORK/$1.out" >&2; fail "$1 ended by itself"; }
  kill -INT "$LOAD"
  wait "$LOAD" || true
  grep -q 'err= 0:' "$WORK/$1.out" || { cat "$WORK/$1.out" >&2; fail "$1 saw an error"; }
  ! grep -qiE 'verify: bad|mismatch' "$WORK/$1.out" || fail "$1 saw a mismatch"
}
# kill_server: and waits until the next one serves
kill_server() {
  local pid; pid=$(field pid)
  kill -KILL "$pid"
  another() { local now; now=$(field pid) && [ "$now" != "$pid" ]; }
  wait_for 60 another || fail "no other server came"
}
# nothing_left: no device, name, program, directory; and nothing that the kernel complained of
nothing_left() {
  gone() { ! compgen -G '/dev/ublk[bc]*' >/dev/null; }
  wait_for 10 gone || fail "a device is left"
  [ ! -e "$V" ] || fail "the name is left"
  [ -z "$(ls -A "$UMBRA_RUNTIME_DIR/attached")" ] || fail "left: $(ls "$UMBRA_RUNTIME_DIR/attached")"
  ! pgrep -x umbra-cow || fail "a program is left"
  ! dmesg | grep -E 'WARNING:|BUG:|Oops|blocked for more than' || fail "the kernel complained"
}
