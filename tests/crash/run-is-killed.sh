#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills and stops the program under umbra run, and the umbra that runs it: the status tells, nothing is frozen, nothing is left.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
fault_setup
run_program() {
  rm -f "$WORK/program"
  "$UMBRA" run --of "$WORK/a" --provider clone -- bash -c 'echo $$ >"$1.new"; mv "$1.new" "$1"; while :; do sleep 0.1; done' - "$WORK/program" 2>"$WORK/err" &
  PID=$!
  cleanup_fn kill_and_wait "$PID"
  wait_for 30 test -s "$WORK/program" || fail "the program was not started: $(cat "$WORK/err")"
  PROGRAM=$(cat "$WORK/program")
}
gone() { ! kill -0 "$1" 2>/dev/null; }

no_fault
run_program
kill -KILL "$PROGRAM"
status=0; wait "$PID" || status=$?
[ "$status" = 137 ] || fail "the program was killed, status $status"
nothing_left a

# Stopped, it holds nobody up; the set goes when it ends.
run_program
kill -STOP "$PROGRAM"
writes_within 1 a
expect_status 0 "$UMBRA" --quiet backup --no-writers --provider files "$WORK/a" --to "$WORK/backup"
kill -CONT "$PROGRAM"; kill -TERM "$PROGRAM"
status=0; wait "$PID" || status=$?
[ "$status" = 143 ] || fail "the program was terminated, status $status"
nothing_left a

# umbra itself: the program is told to end, and its shadow copy is gone with the next command.
for signal in KILL TERM; do
  run_program
  kill "-$signal" "$PID"
  status=0; wait "$PID" || status=$?
  [ "$status" -gt 128 ] || fail "umbra run ended by SIG$signal with status $status"
  writes_within 1 a
  wait_for 10 gone "$PROGRAM" || fail "SIG$signal to umbra: the program goes on without it"
  nothing_left a
done

# Stopped, umbra holds nobody up either.
run_program
kill -STOP "$PID"
writes_within 1 a
expect_status 0 "$UMBRA" --quiet backup --no-writers --provider files "$WORK/a" --to "$WORK/backup"
kill -CONT "$PID"
kill -TERM "$PROGRAM"
wait "$PID" || true
nothing_left a
