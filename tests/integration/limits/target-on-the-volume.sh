#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up into the volume that is being backed up, and keeps a shadow copy's storage there.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 192M
mkdir "$WORK/v/data"
head -c 8000000 /dev/urandom >"$WORK/v/data/file"
for provider in clone files; do
  expect_status 0 "$UMBRA" backup --no-writers --provider "$provider" --storage "$WORK/v" "$WORK/v/data" --to "$WORK/v/backups-$provider"
  expect_status 0 "$UMBRA" verify "$WORK/v/backups-$provider"
  expect_status 0 "$UMBRA" restore "$WORK/v/backups-$provider" --to "$WORK/out-$provider"
  cmp "$WORK/v/data/file" "$WORK/out-$provider$WORK/v/data/file" || fail "$provider: restored something else"
done
# The whole volume, the target in it: ends, and does not save itself.
expect_status 0 "$UMBRA" backup --no-writers --provider clone --storage "$WORK/v" "$WORK/v" --to "$WORK/v/backups-whole"
expect_status 0 "$UMBRA" verify "$WORK/v/backups-whole"
"$UMBRA" ls "$WORK/v/backups-whole@latest" >"$WORK/listing"
grep -q 'data/file' "$WORK/listing" || fail "the listing is not one of files: $(head "$WORK/listing")"
grep -q 'backups-whole/.*files.tar' "$WORK/listing" && fail "the backup has itself in it"
accepts_write "$WORK/v" 1 || fail "the volume is frozen"
