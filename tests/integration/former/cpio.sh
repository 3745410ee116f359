#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs find and cpio over a shadow copy: the archive holds what the shadow copy showed.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program cpio

MANIFEST_TIMES=seconds
make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
in_shadow "cd $WORK/v/tree; find . -mindepth 1 -depth -print0 | cpio -o0 -H newc --quiet >$WORK/tree.cpio"
(cd "$WORK/out" && cpio -idm --quiet --sparse <"$WORK/tree.cpio")
same_tree "$WORK/out"
