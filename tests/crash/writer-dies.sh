#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets the writer be killed at each of its events: the set goes on with less consistency (status 3), names the writer, and
# nothing stays frozen; with --require application it fails.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
fault_setup
for step in writer:identify writer:prepare-backup writer:prepare-snapshot writer:freeze writer:thaw; do
  fault_at "$step" SELF-KILL
  start_set a
  status=0; wait "$PID" || status=$?
  writes_within 1 a
  struck || fail "$step was never reached"
  [ "$status" = 3 ] || fail "the writer died at $step: status $status: $(cat "$WORK/create.err")"
  grep -q witness "$WORK/create.err" || fail "the writer died at $step and is not named: $(cat "$WORK/create.err")"
  [ "$(jq -r '.set.writers[0].state' "$WORK/create")" != stable ] || fail "its state says stable: $(cat "$WORK/create")"
  [ "$(jq -r .set.consistency "$WORK/create")" != application ] || fail "the set claims application consistency"
  "$UMBRA" delete "$(jq -r .set.id "$WORK/create")"
  # With a demand that cannot be met any more it is a failure.
  fault_at "$step" SELF-KILL
  expect_status 1 "$UMBRA" create --provider fault --require application "$WORK/a"
  expect_output witness
  nothing_left a
done
