#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes 100 shadow copies of a Redis server under load, with appendfsync everysec and always, by clone, files and btrfs, and starts a server on each.
# timeout: 3000
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/redis.sh"
requires_root
requires_program jq python3 mkfs.ext4 mkfs.btrfs setpriv

mkdir "$WORK/mounted"
make_volume v ext4 256M
make_volume b btrfs 256M
# sets COUNT DIRECTORY SYNC PROVIDER...
sets() {
  local count=$1 directory=$2 sync=$3 i provider; shift 3
  redis_start "$directory" --appendonly yes --appendfsync "$sync" --auto-aof-rewrite-min-size 1mb --auto-aof-rewrite-percentage 10
  for ((i = 0; i < count; i++)); do
    for provider in "$@"; do redis_shadow --provider "$provider"; done
  done
  redis_goes_on
  redis_stop
  rm -r "$directory"
}
for sync in everysec always; do
  sets 20 "$WORK/v/$sync" "$sync" clone files
  sets 10 "$WORK/b/$sync" "$sync" btrfs
done
