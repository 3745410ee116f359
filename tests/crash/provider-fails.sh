#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets the provider fail at each of its steps, or be killed: the set fails with the provider and the volume named, all of it is
# removed, the writers hear abort.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
make_volume b ext4 32M
fault_setup
for action in fail SELF-KILL; do
  for step in prepare precommit commit postcommit; do
    fault_at "provider:$step" "$action"
    start_set a b
    status=0; wait "$PID" || status=$?
    writes_within 1 a b
    struck || fail "$step was never reached"
    [ "$status" = 1 ] || fail "$action at $step: status $status"
    grep -qE 'fault' "$WORK/create.err" || fail "$action at $step: the provider is not named: $(cat "$WORK/create.err")"
    grep -qE "$WORK/[ab]" "$WORK/create.err" || fail "$action at $step: the volume is not named: $(cat "$WORK/create.err")"
    [ "$action" != fail ] || grep -q "no luck with $step" "$WORK/create.err" || fail "$step: the reason is lost: $(cat "$WORK/create.err")"
    grep -q '^writer abort$' "$WORK/witness.log" || fail "$action at $step: the writer heard no abort"
    nothing_left a b
  done
done
