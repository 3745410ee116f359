#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills the guardian while the volumes are held, and while they are not: the coordinator thaws, aborts and says so.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
make_volume b ext4 32M
fault_setup
guardian_of() {
  local pid
  for pid in $(cat "/proc/$1/task"/*/children 2>/dev/null); do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = umbra-guardian ] && echo "$pid" && return
  done
  return 1
}
for step in writer:freeze provider:precommit provider:commit; do
  fault_at "$step" GUARDIAN-KILL
  # The one who strikes waits at this fifo until the guardian's id is there.
  mkfifo "$WORK/guardian-pid"
  start_set a b
  wait_for 20 guardian_of "$PID" || fail "no guardian was there: $(cat "$WORK/create.err")"
  guardian=$(guardian_of "$PID")
  timeout 20 bash -c 'echo "$1" >"$2"' - "$guardian" "$WORK/guardian-pid" || fail "$step was never reached"
  status=0; wait "$PID" || status=$?
  rm "$WORK/guardian-pid"
  struck || fail "$step was never reached"
  writes_within 1 a b
  [ "$status" = 1 ] || fail "the guardian died at $step, yet status $status"
  grep -q guardian "$WORK/create.err" || fail "the guardian died at $step and nothing says so: $(cat "$WORK/create.err")"
  told_after_freeze || fail "the guardian died at $step: a frozen writer heard nothing: $(cat "$WORK/witness.log")"
  nothing_left a b
done
