#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes clones of an ext4 volume under the order writer; each has to be one instant and clean.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
make_volume a ext4 96M
order_start "$WORK/a"
SET_OPTIONS=(--provider clone)
prove_sets 3 a
order_stop
order_judge "$LAST" "$LAST" "$WORK/a/order"
