#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 8 of the answered system: two requesters of one volume at once: the second waits and succeeds; with no patience it is refused by name.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

. "$TOP/tests/lib/fault.sh"
make_volume a ext4 32M
fault_setup
fault_at provider:prepare STOP
start_set a
first=$PID
wait_for 20 struck || fail "the first never got to prepare"
"$UMBRA" --json create --provider null --no-writers "$WORK/a" >"$WORK/second" 2>"$WORK/second.err" &
second=$!
cleanup_fn kill_and_wait "$second"
wait_for 20 grep -q waiting "$WORK/second.err" || fail "the second does not say that it waits: $(cat "$WORK/second.err")"
limits 'queue_limit_ms = 100'
expect_status 1 "$UMBRA" create --provider null --no-writers "$WORK/a"
expect_output "$WORK/a"
kill -0 "$second" || fail "the second did not wait: $(cat "$WORK/second.err")"
kill -CONT "$first"
wait "$first" || fail "the first failed: $(cat "$WORK/create.err")"
wait "$second" || fail "the second failed: $(cat "$WORK/second.err")"
expect_status 0 "$UMBRA" delete --all
