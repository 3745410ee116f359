#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills umbra (create, run, backup) at random times under load, 200 times.
# timeout: 3000
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
. "$TOP/tests/lib/random-kills.sh"
requires_root
requires_program mkfs.xfs

random_kills_setup
random_kills 200
