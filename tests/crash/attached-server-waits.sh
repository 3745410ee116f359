#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills the server of an attached volume while somebody has the lock that its last transfers would have: the next server waits for it
# (the kernel says so, in /proc/locks), and serves what was asked for meanwhile when it is given back.
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/attached.sh"
requires_root
requires_program python3

ATTACHED=test-$$-waits
truncate -s 100M "$WORK/v.origin"
dd if=/dev/urandom of="$WORK/v.origin" bs=1M count=1 conv=notrunc status=none
cleanup_fn attached_away "$ATTACHED"
"$UMBRA" --quiet attach "$WORK/v.origin" "$ATTACHED" >/dev/null

# lock_lines PATTERN: the kernel's lines of locks on the origin that match
lock_lines() { grep -E -e "$1" /proc/locks | grep -q ":$(stat -c %i "$WORK/v.origin") "; }
lock_lines '^[0-9]+: OFDLCK' || fail "the server has no lock"
# Asks for the lock now and gets it when the server is gone.
background python3 -c 'import fcntl, signal, struct, sys
F_OFD_SETLKW = 38
f = open(sys.argv[1], "r+b")
fcntl.fcntl(f, F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
open(sys.argv[2], "w").close()
signal.pause()' "$WORK/v.origin" "$WORK/locked"
holder=$PID
wait_for 10 lock_lines '-> OFDLCK' || fail "nobody waits for the lock"
server=$(attached_status "$ATTACHED" pid)
kill -KILL "$server"
wait_for 10 test -e "$WORK/locked" || fail "the lock is not given back by a server that is dead"
wait_for 10 lock_lines '-> OFDLCK' || fail "the next server does not wait for the lock"
dd if="/dev/umbra/$ATTACHED" of="$WORK/read" bs=1M count=1 iflag=direct status=none &
reader=$!
kill_and_wait "$holder"
wait "$reader" || fail "what was asked for meanwhile failed"
cmp -n 1048576 "$WORK/read" "$WORK/v.origin"
"$UMBRA" detach "$ATTACHED"
no_attached_left
