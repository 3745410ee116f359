#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 5 of the answered system: a writer's own shorter limit holds.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 32M
make_writer late back-end '"components": [], "timeouts": {"freeze_ms": 1000}' '[ "$1" = freeze ] && exec sleep 60'
began=$SECONDS
expect_status 1 "$UMBRA" create --provider null "$WORK/v"
expect_output 'late'
[ $((SECONDS - began)) -le 8 ] || fail "it took $((SECONDS - began)) s"
no_sets_left
