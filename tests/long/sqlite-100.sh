#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes 100 shadow copies of SQLite databases that four processes write, by clone, files and btrfs in turn, each of them sound and complete.
# timeout: 2400
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/sqlite.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.btrfs setpriv

mkdir "$WORK/mounted"
make_volume v ext4 192M
sqlite_start "$WORK/v/data"
for ((i = 0; i < 35; i++)); do
  for provider in clone files; do sqlite_shadow --provider "$provider"; done
done
for pid in $(jobs -p); do kill_and_wait "$pid"; done

rm -rf "$WORK"/acknowledged-* "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d" "$WORK/v/data"
make_volume b btrfs 256M
sqlite_start "$WORK/b/data"
for ((i = 0; i < 30; i++)); do sqlite_shadow --provider btrfs; done
sqlite_goes_on
