#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes 100 shadow copies of a MariaDB server under load, by clone, files and btrfs, and starts a server on each.
# timeout: 3400
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/mariadb.sh"
requires_root
requires_program jq python3 mkfs.ext4 mkfs.btrfs setpriv

mkdir "$WORK/mounted"
make_volume v ext4 500M
mariadb_start "$WORK/v/data" --log-bin --server-id=1
for ((i = 0; i < 35; i++)); do
  for provider in clone files; do mariadb_shadow --provider "$provider"; done
done
mariadb_goes_on
for pid in "${LOADS[@]}" "$SERVER"; do kill_and_wait "$pid"; done

rm -rf "$WORK"/{acknowledged,frozen,sockets} "$WORK/v/data"
make_volume b btrfs 600M
mariadb_start "$WORK/b/data" --log-bin --server-id=1
for ((i = 0; i < 30; i++)); do mariadb_shadow --provider btrfs; done
mariadb_goes_on
