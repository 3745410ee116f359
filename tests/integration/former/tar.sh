#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs GNU tar over a shadow copy (clone, then files): the archive holds what the shadow copy showed.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program tar

make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
for PROVIDER in clone files; do
  in_shadow "tar -C $WORK/v/tree --xattrs -cf $WORK/out/tree.tar . 2>$WORK/out/err; [ ! -s $WORK/out/err ]"
  mkdir "$WORK/out/$PROVIDER" && tar -C "$WORK/out/$PROVIDER" -xpf "$WORK/out/tree.tar"
  same_tree "$WORK/out/$PROVIDER"
done
