#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs restic twice over btrfs shadow copies: the second run reads only what changed.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program restic jq mkfs.btrfs

make_volume v btrfs 160M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
export RESTIC_REPOSITORY=$WORK/out/repository RESTIC_PASSWORD=none
in_shadow "restic --quiet init; restic --quiet backup $WORK/v/tree"

# Two sets of the same volume: same paths, inodes and times. The program has to trust its cache, files that changed aside.
in_shadow "restic --json backup $WORK/v/tree >$WORK/out/second"
summary=$(jq -c "select(.message_type == \"summary\")" "$WORK/out/second")
[ "$(jq .files_unmodified <<<"$summary")" -ge 60 ] || fail "the second run read files that had not changed: $summary"
restic --quiet restore latest --target "$WORK/out/y"
same_tree "$WORK/out/y$WORK/v/tree"
