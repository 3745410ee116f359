#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets of an ext4 and an XFS volume by clone; both have to show the same instant.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
requires_program mkfs.xfs xfs_repair
make_volume a ext4 96M
make_volume b xfs 320M
order_start "$WORK/a" "$WORK/b"
SET_OPTIONS=(--provider clone --require instant)
prove_sets 3 a b
order_stop
order_judge "$LAST" "$LAST" "$WORK/a/order" "$WORK/b/order"
