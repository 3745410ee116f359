#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test stops the coordinator (SIGSTOP) at every state of a set's life: each volume accepts a write within the hold limit, each
# frozen writer hears thaw or abort within its limit. Woken again, a set that overran has failed and says so.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

HOLD_LIMIT_MS=1000 FREEZE_LIMIT_MS=2000
make_volume a ext4 32M
make_volume b ext4 32M
fault_setup
for step in "${FAULT_STEPS[@]}"; do
  fault_at "$step" STOP
  start_set a b
  wait_for 20 struck || fail "$step was never reached: $(cat "$WORK/create.err")"
  # The hold limit, and what the guardian (100 ms) and this shell need.
  writes_within 1.5 a b
  wait_for 6 told_after_freeze || fail "stopped at $step: a frozen writer heard nothing: $(cat "$WORK/witness.log")"
  kill -CONT "$PID"
  status=0; wait "$PID" || status=$?
  case $step in
    writer:freeze | provider:precommit | provider:commit)
      [ "$status" = 1 ] || fail "stopped at $step beyond the limit, yet status $status: $(cat "$WORK/create.err")"
      grep -qE '^umbra: .+' "$WORK/create.err" || fail "stopped at $step: nothing says why it failed"
      ;;
    *)
      [ "$status" = 0 ] || [ "$status" = 1 ] || [ "$status" = 3 ] || fail "stopped at $step: status $status: $(cat "$WORK/create.err")"
      [ "$status" = 1 ] || "$UMBRA" delete "$(jq -r .set.id "$WORK/create")" || fail "stopped at $step: its set cannot be deleted"
      ;;
  esac
  nothing_left a b
  echo "$step: survived with status $status"
done
