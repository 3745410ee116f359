#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets of an ext4 and an XFS volume (held) and a btrfs one (commits inside their hold): the same instant.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
requires_program mkfs.xfs xfs_repair mkfs.btrfs
make_volume a ext4 96M
make_volume b xfs 320M
make_volume c btrfs 160M
order_start "$WORK/a" "$WORK/b" "$WORK/c:synced"
SET_OPTIONS=(--require instant)
prove_sets 3 a b c
[ "$(jq -r "[.shadows[].provider] | sort | join(\" \")" <<<"$SET")" = "btrfs clone clone" ] || fail "other providers: $SET"
order_stop
order_judge "$LAST" "$LAST" "$WORK"/{a,b,c}/order
check_btrfs c
