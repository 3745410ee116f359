#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 9 of the answered system: the requester is killed before and after the set is made: shutdown or abort is heard, its shadow copies go, the next works at once.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

. "$TOP/tests/lib/fault.sh"
make_volume a ext4 32M
fault_setup
fault_at writer:prepare-snapshot KILL
start_set a
wait "$PID" || true
wait_for 10 grep -q '^writer abort' "$WORK/witness.log" || fail "no abort was heard: $(cat "$WORK/witness.log")"
nothing_left a
"$UMBRA" run --provider fault --of "$WORK/a" -- bash -c 'touch "$1"; while :; do sleep 0.1; done' - "$WORK/running" 2>"$WORK/err" &
PID=$!
cleanup_fn kill_and_wait "$PID"
wait_for 20 test -e "$WORK/running" || fail "the program was not started: $(cat "$WORK/err")"
kill -KILL "$PID"
wait "$PID" || true
"$UMBRA" list sets >/dev/null
grep -qE '^writer (shutdown|abort)' "$WORK/witness.log" || fail "nothing was heard of the end: $(cat "$WORK/witness.log")"
nothing_left a
