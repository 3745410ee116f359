#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills the coordinator (SIGKILL) at every state of a set's life: each volume accepts a write within a second, each
# frozen writer hears thaw or abort, and the next command removes what was left and works.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
make_volume b ext4 32M
fault_setup
for step in "${FAULT_STEPS[@]}"; do
  fault_at "$step" KILL
  start_set a b
  status=0; wait "$PID" || status=$?
  writes_within 1 a b
  struck || fail "$step was never reached: $(cat "$WORK/create.err")"
  [ "$status" = 137 ] || fail "killed at $step, yet status $status"
  wait_for 10 told_after_freeze || fail "killed at $step: a frozen writer heard nothing: $(cat "$WORK/witness.log")"
  nothing_left a b
  echo "$step: survived"
done
