#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs rdiff-backup over a shadow copy: its mirror is what the shadow copy showed.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program rdiff-backup

MANIFEST_TIMES=seconds
make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
in_shadow "rdiff-backup backup $WORK/v/tree $WORK/out/mirror"
rm -rf "$WORK/out/mirror/rdiff-backup-data"
same_tree "$WORK/out/mirror"
