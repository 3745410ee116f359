#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes clones of an XFS volume under the order writer; each has to be one instant and clean.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
requires_program mkfs.xfs xfs_repair
make_volume a xfs 320M
order_start "$WORK/a"
SET_OPTIONS=(--provider clone)
prove_sets 3 a
order_stop
order_judge "$LAST" "$LAST" "$WORK/a/order"
