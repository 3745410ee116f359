#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs rsync over a shadow copy: the copy is what the shadow copy showed.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program rsync

make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
# Without the window of -1 rsync leaves times that differ by less than a second.
in_shadow "rsync -aHAX --modify-window=-1 $WORK/v/tree/ $WORK/out/"
same_tree "$WORK/out"
