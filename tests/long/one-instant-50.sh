#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes 50 sets in a row of each kind under the order writer; each has to be one instant and clean.
# timeout: 3000
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
requires_program mkfs.xfs xfs_repair mkfs.btrfs

make_volume a ext4 96M
make_volume b xfs 320M
make_volume c btrfs 512M
order_start "$WORK/a" "$WORK/b" "$WORK/c:synced"
SET_OPTIONS=(--require instant)
prove_sets 50 a b c
order_stop
order_judge "$LAST" "$LAST" "$WORK"/{a,b,c}/order

rm -rf "$WORK"/{a,b,c}/order
order_start "$WORK/a" "$WORK/b"
SET_OPTIONS=(--provider files --require instant)
prove_sets 50 a b
order_stop

rm -rf "$WORK"/{a,b}/order
order_start "$WORK/c:synced"
SET_OPTIONS=(--provider btrfs --require instant)
prove_sets 50 c
order_stop
check_btrfs c
