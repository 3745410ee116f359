#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes btrfs snapshots under the order writer with every operation synced: btrfs orders only what was fsynced.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
requires_program mkfs.btrfs
make_volume a btrfs 160M
order_start "$WORK/a:synced"
SET_OPTIONS=(--provider btrfs --require instant)
prove_sets 3 a
[ "$(jq '.hold_ms == 0' <<<"$SET")" = true ] || fail "a set of btrfs alone held something"
order_stop
order_judge "$LAST" "$LAST" "$WORK/a/order"
check_btrfs a
