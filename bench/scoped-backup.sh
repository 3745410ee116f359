#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Does `umbra backup` of 150 MB on a volume with 20 GB used take time in proportion to the 150 MB, and not to the volume? Against cp -a, both
# of files that nobody has in memory: cp of what has just been written copies memory, in anything from 0.1 to 0.7 s.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root

ROUNDS=${ROUNDS:-5}

make_volume v ext4 24G
fallocate -l 20G "$WORK/v/rest"
mkdir "$WORK/v/wanted"
for ((i = 0; i < 1500; i++)); do head -c 100000 /dev/urandom >"$WORK/v/wanted/$i"; done
sync -f "$WORK/v"
forget() { python3 -c 'import os, sys
for file in os.scandir(sys.argv[1]):
  fd = os.open(file, os.O_RDONLY)
  os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
  os.close(fd)' "$WORK/v/wanted"; }
for ((i = 0; i < ROUNDS; i++)); do
  rm -rf "$WORK/copy" "$WORK/backup"
  forget
  { milliseconds cp -a "$WORK/v/wanted" "$WORK/copy"; } >>"$WORK/cp"
  forget
  milliseconds "$UMBRA" --quiet backup --no-writers --provider clone "$WORK/v/wanted" --to "$WORK/backup" >>"$WORK/umbra"
done
echo "scoped-backup: $(median <"$WORK/umbra") ms, cp -a $(median <"$WORK/cp") ms (medians of $ROUNDS)" >&2
figure "clone: backup of 150 MB on a volume with 20 GB used against cp -a, median" \
  "$(ratio "$(median <"$WORK/umbra")" "$(median <"$WORK/cp")")" "" 3
