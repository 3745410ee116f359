#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 11 of the answered system: without writers none hears anything, and the data are as after a power cut at worst: fsck is clean.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 64M
echo x >"$WORK/v/file"
make_writer one back-end
set=$("$UMBRA" --json create --provider clone --no-writers "$WORK/v")
[ ! -e "$WORK/events" ] || fail "the writer was told: $(cat "$WORK/events")"
[ "$(jq -r .set.consistency <<<"$set")" = filesystem ] || fail "it claims more: $set"
[ "$(jq '.set.writers | length' <<<"$set")" = 0 ] || fail "it names writers: $set"
directory=$("$UMBRA" mount "$(jq -r .set.shadows[0].id <<<"$set")")
e2fsck -fn "$(findmnt -no SOURCE "$directory")" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck"; fail "fsck"; }
expect_status 0 "$UMBRA" unmount "$directory"
expect_status 0 "$UMBRA" delete --all
