#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 6 of the answered system: a provider that stalls in commit: writes resume at the hold limit, the whole set is gone, the other volume too.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

. "$TOP/tests/lib/fault.sh"
make_volume a ext4 32M
make_volume b ext4 32M
HOLD_LIMIT_MS=1500
fault_setup
fault_at provider:commit SELF-STOP
start_set a b
wait_for 20 struck || fail "commit was never reached"
for v in a b; do accepts_write "$WORK/$v" 2.5 || fail "$v is held beyond the limit"; done
status=0; wait "$PID" || status=$?
[ "$status" = 1 ] || fail "status $status"
grep -qiE 'held|hold' "$WORK/create.err" || fail "the limit is not named: $(cat "$WORK/create.err")"
nothing_left a b
