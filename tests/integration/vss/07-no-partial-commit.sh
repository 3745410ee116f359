#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 7 of the answered system: the second volume cannot be committed: no shadow copy of either stays.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

. "$TOP/tests/lib/fault.sh"
make_volume a ext4 32M
make_volume b ext4 32M
fault_setup
fault_at provider:commit fail
start_set a b
status=0; wait "$PID" || status=$?
[ "$status" = 1 ] || fail "status $status"
[ "$(grep -c '^provider prepare' "$WORK/witness.log")" = 2 ] || fail "not both volumes were prepared"
[ "$(grep -c '^provider remove' "$WORK/witness.log")" = 2 ] || fail "not both were removed: $(cat "$WORK/witness.log")"
nothing_left a b
