# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by tests of attached volumes.
# shellcheck shell=bash

# attached_volume NAME FSTYPE SIZE [ATTACH OPTION...]: a plain device attached as $ATTACHED (unique on the machine), with a filesystem,
# mounted at $WORK/NAME; sets ORIGIN (the plain device) and ATTACHED. Gone at exit.
attached_volume() {
  local name=$1 type=$2 size=$3; shift 3
  attached_device "$name" "$size" "$@"
  case $type in
    ext*) mkfs."$type" -q -F "/dev/umbra/$ATTACHED" ;;
    xfs) mkfs.xfs -q -f "/dev/umbra/$ATTACHED" ;;
  esac
  mkdir "$WORK/$name"
  cleanup_fn umount -R "$WORK/$name"
  mount "/dev/umbra/$ATTACHED" "$WORK/$name"
}

attached_device() {
  local name=$1 size=$2; shift 2
  truncate -s "$size" "$WORK/$name.origin"
  ORIGIN=$(losetup --find --show --direct-io=on "$WORK/$name.origin")
  cleanup_fn losetup -d "$ORIGIN"
  ATTACHED=test-$$-$name
  cleanup_fn attached_away "$ATTACHED"
  "$UMBRA" attach "$@" "$ORIGIN" "$ATTACHED" >"$WORK/attach.out"
  [ "$(cat "$WORK/attach.out")" = "/dev/umbra/$ATTACHED" ] || fail "attach printed $(cat "$WORK/attach.out")"
}

# unmount_alone DIRECTORY: unmounted, and its device nobody's: where mounts are not shared, a namespace that another test made meanwhile
# keeps the mount for as long as it lives
unmount_alone() {
  local device
  device=$(findmnt -nro SOURCE --mountpoint "$1")
  umount "$1"
  wait_for 60 python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)' "$device" || fail "$device stays in use"
}

# attached_away NAME: detached; if that is refused (the test failed half-way), its programs are ended and its devices taken away
attached_away() {
  local device directory=$UMBRA_RUNTIME_DIR/attached/$1
  [ -d "$directory" ] || return 0
  ! "$UMBRA" detach --force "$1" || return 0
  # Devices first, as long as the kernel knows what they lie over; they go with their last user.
  for device in $(losetup -nlO NAME,BACK-FILE | awk -v d="$directory/mnt/" 'index($2, d) == 1 { print $1 }'); do losetup -d "$device"; done
  python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(30); s.connect(sys.argv[1]); s.send(b"end"); s.recv(8)' "$directory/supervise"
  umount -l "$directory/mnt"
  rm -f "/dev/umbra/$1"
}

# kill_both: server and supervisor of $ATTACHED, neither of which can start the other anew
kill_both() {
  local supervisor server
  supervisor=$(attached_status "$ATTACHED" supervisor_pid) server=$(attached_status "$ATTACHED" pid)
  kill -STOP "$supervisor"
  kill -KILL "$server" "$supervisor"
  ended() { [ ! -d "/proc/$supervisor" ] && [ ! -d "/proc/$server" ]; }
  wait_for 20 ended || fail "they live"
}

# attached_status NAME FIELD: of the volume's server
attached_status() {
  python3 - "$UMBRA_RUNTIME_DIR/attached/$1/control" "$2" <<'END'
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(30)
s.connect(sys.argv[1])
s.send(b'{"do": "status"}')
print(json.loads(s.recv(65536))[sys.argv[2]])
END
}

# no_attached_left: no process, mount, loop device or name of this test's attached volumes
no_attached_left() {
  local left
  left=$(find /proc/[0-9]*/fd -lname "$WORK/*.origin" 2>/dev/null | head -n 3 || true)
  [ -z "$left" ] || fail "still open: $left"
  ! grep -q "$WORK.* fuse" /proc/mounts || fail "a session is still mounted"
  [ -z "$(find /dev/umbra -name "test-$$-*" 2>/dev/null)" ] || fail "a name is left in /dev/umbra"
  [ -z "$(ls -A "$UMBRA_RUNTIME_DIR/attached")" ] || fail "left in the runtime directory: $(ls "$UMBRA_RUNTIME_DIR/attached")"
}
