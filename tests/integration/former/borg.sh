#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs borg twice over shadow copies: both archives equal them, and the second run reads only what changed.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program borg

make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
export BORG_REPO=$WORK/out/repository BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
in_shadow "borg init -e none; borg create ::one $WORK/v/tree"
export HOME=$WORK/home XDG_CACHE_HOME=$WORK/home/cache
mkdir "$WORK/out/x" && (cd "$WORK/out/x" && borg extract ::one)
same_tree "$WORK/out/x$WORK/v/tree"

# Two sets of the same volume: same paths, inodes and times. The program has to trust its cache, files that changed aside.
in_shadow "borg create --list --filter=U ::two $WORK/v/tree 2>$WORK/out/unchanged"
unchanged=$(grep -c "^U " "$WORK/out/unchanged") || true
[ "$unchanged" -ge 60 ] || fail "the second run trusted its cache for $unchanged files only"
grep -q "^U .*bin/big$" "$WORK/out/unchanged" || fail "the second run read the big file again"
mkdir "$WORK/out/y" && (cd "$WORK/out/y" && borg extract ::two)
same_tree "$WORK/out/y$WORK/v/tree"
