#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs dump over a shadow copy: it finds the volume by its mount point and its device, and what it saves is what was shown.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program dump restore

MANIFEST_TIMES=seconds
make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
in_shadow "dump -0 -f $WORK/out/tree.dump $WORK/v/tree >$WORK/out/log 2>&1 || { cat $WORK/out/log >&2; exit 1; }"
mkdir "$WORK/out/x" && (cd "$WORK/out/x" && restore -r -f "$WORK/out/tree.dump" >/dev/null)
found=$(find "$WORK/out/x" -type d -name tree -print -quit)
same_tree "${found:-$WORK/out/x}"
