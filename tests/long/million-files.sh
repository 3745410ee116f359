#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up and restores a million small files, in bounded memory.
# timeout: 3000
. "$(dirname "$0")/../lib/functions.sh"
requires_root

make_volume v ext4 2G -N 1100000
python3 -c 'import os, sys
for d in range(1000):
    os.mkdir(f"{sys.argv[1]}/{d}")
    for f in range(1000):
        os.close(os.open(f"{sys.argv[1]}/{d}/{f}", os.O_CREAT | os.O_WRONLY))' "$WORK/v"
for provider in clone files; do
  memory=$(command time -f %M "$UMBRA" --quiet backup --no-writers --provider "$provider" "$WORK/v" --to "$WORK/backup-$provider" 2>&1 | tail -n 1)
  [ "$memory" -le $((128 * 1024)) ] || fail "$provider: the backup took $memory KiB of memory"
  expect_status 0 "$UMBRA" verify "$WORK/backup-$provider"
  # The headers come from the listing; counting is enough, the content of each is nothing.
  [ "$("$UMBRA" ls "$WORK/backup-$provider@latest" | wc -l)" -ge 1001000 ] || fail "$provider: files are missing"
  rm -rf "$WORK/backup-$provider"
done
