#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Does `umbra backup` of 150 MB on a volume with 20 GB used take time in proportion to the 150 MB, and not to the volume? Against cp -a.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root

make_volume v ext4 24G
fallocate -l 20G "$WORK/v/rest"
mkdir "$WORK/v/wanted"
for ((i = 0; i < 1500; i++)); do head -c 100000 /dev/urandom >"$WORK/v/wanted/$i"; done
sync -f "$WORK/v"
for ((i = 0; i < 3; i++)); do
  rm -rf "$WORK/copy" "$WORK/backup"
  { milliseconds cp -a "$WORK/v/wanted" "$WORK/copy"; } >>"$WORK/cp"
  milliseconds "$UMBRA" --quiet backup --no-writers --provider clone "$WORK/v/wanted" --to "$WORK/backup" >>"$WORK/umbra"
done
figure "clone: backup of 150 MB on a volume with 20 GB used against cp -a, median" \
  "$(ratio "$(median <"$WORK/umbra")" "$(median <"$WORK/cp")")" "" 3
