#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How long does `umbra list` take with SETS (500) sets in the catalogue? By the program alone.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root

ROUNDS=${ROUNDS:-20} SETS=${SETS:-500}
make_volume v ext4 32M
for ((i = 0; i < SETS; i++)); do "$UMBRA" --quiet create --no-writers --provider null "$WORK/v"; done >"$WORK/made"
cleanup_fn "$UMBRA" --quiet delete --all
[ "$("$UMBRA" list sets | wc -l)" -gt "$SETS" ] || fail "not all are listed"
for ((i = 0; i < ROUNDS; i++)); do milliseconds "$UMBRA" --standalone list sets >>"$WORK/ms" 2>"$WORK/listed"; done
figure "list of $SETS sets, median" "$(median <"$WORK/ms")" " ms" 50
