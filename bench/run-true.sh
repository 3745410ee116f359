#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What does a program pay for being run over a btrfs shadow copy?
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root

make_volume v btrfs 256M
cp -a /etc "$WORK/v/etc"
for ((i = 0; i < 21; i++)); do
  milliseconds true >>"$WORK/plain-ms"
  milliseconds "$UMBRA" --quiet run --of "$WORK/v" --no-writers -- true >>"$WORK/run-ms"
done
figure "btrfs: run -- true, more than true, median" \
  "$(awk -v a="$(median <"$WORK/run-ms")" -v b="$(median <"$WORK/plain-ms")" 'BEGIN { print a - b }')" " ms" 60
