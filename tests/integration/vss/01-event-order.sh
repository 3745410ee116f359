#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 1 of the answered system: a backup tells its writer each event once, in order.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 32M
mkdir "$WORK/v/data" && echo x >"$WORK/v/data/file"
make_writer one back-end
expect_status 0 "$UMBRA" --json backup --provider files "$WORK/v/data" --to "$WORK/backup"
told=$(events_of one)
[ "$told" = "identify prepare-backup prepare-snapshot freeze thaw post-snapshot backup-complete shutdown" ] || fail "told: $told"
[ "$(jq -r .set.consistency "$WORK"/backup/*/backup.json)" = application ] || fail "not application consistent: $(cat "$WORK"/backup/*/backup.json)"
