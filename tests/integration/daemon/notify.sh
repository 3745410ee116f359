#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test listens to what umbrad tells the service manager: that it is ready, that it lives, as long as its host does, too, and that it is stopping.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
requires_root
requires_program python3

python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    print(s.recv(4096).decode(), flush=True)
' "$WORK/notify" >"$WORK/told" &
cleanup_fn kill_and_wait "$!"
wait_for 20 test -S "$WORK/notify" || fail "nobody listens"
chmod 777 "$WORK/notify"
told() { grep -qx "$1" "$WORK/told"; }
lives() { grep -cx WATCHDOG=1 "$WORK/told" || true; }
more_than() { [ "$(lives)" -gt "$1" ]; }
start_bus
export NOTIFY_SOCKET=$WORK/notify WATCHDOG_USEC=300000
start_umbrad
wait_for 10 told READY=1 || fail "not ready: $(cat "$WORK/told")"
before=$(lives)
wait_for 20 more_than "$((before + 2))" || fail "no sign of life: $(cat "$WORK/told")"

# A host that hangs: after the one answer that may have been on its way there is none.
kill -STOP "$HOST_PID"
cleanup_fn kill -CONT "$HOST_PID"
before=$(lives)
sleep 1.5
after=$(lives)
[ "$after" -le $((before + 1)) ] || fail "$((after - before)) signs of life without the host"
kill -CONT "$HOST_PID"
wait_for 20 more_than "$((after + 2))" || fail "no sign of life any more"
kill "$UMBRAD_PID"
wait "$UMBRAD_PID" || fail "status $?"
wait_for 10 told STOPPING=1 || fail "not stopping: $(cat "$WORK/told")"
