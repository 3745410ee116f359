#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 10 of the answered system: what is not persistent goes with its release; what is has the same id, attributes and contents in another boot.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 64M
echo before >"$WORK/v/file"
expect_status 0 "$UMBRA" run --provider clone --no-writers --of "$WORK/v" -- grep -q before "$WORK/v/file"
no_sets_left
[ -z "$(find "$UMBRA_STATE_DIR" -size +1M)" ] || fail "storage is left: $(find "$UMBRA_STATE_DIR" -size +1M)"
kept=$("$UMBRA" --json create --provider clone --no-writers --persistent --label kept "$WORK/v" | jq -r .set.id)
gone=$("$UMBRA" --json create --provider clone --no-writers "$WORK/v" | jq -r .set.id)
"$UMBRA" --json show "$kept" | jq -S 'del(.. | .device?, .mount?)' >"$WORK/shown"
echo after >"$WORK/v/file"
# Another boot: no loop device, the runtime directory is empty, and the boot id of the catalogue is another one.
for device in $(losetup -nO NAME,BACK-FILE | awk -v s="$UMBRA_STATE_DIR/" 'index($2, s) == 1 { print $1 }'); do losetup -d "$device"; done
rm -rf "$UMBRA_RUNTIME_DIR" && mkdir "$UMBRA_RUNTIME_DIR"
sed -i "s/$(cat /proc/sys/kernel/random/boot_id)/00000000-0000-4000-8000-000000000000/" "$UMBRA_STATE_DIR"/sets/*.json
expect_status 0 "$UMBRA" recover
expect_status 0 "$UMBRA" --json list sets
[ "$(jq -r '.sets[].id' "$WORK/output")" = "$kept" ] || fail "not only the persistent set is left: $(cat "$WORK/output") (the other was $gone)"
"$UMBRA" --json show kept | jq -S 'del(.. | .device?, .mount?)' | diff "$WORK/shown" - || fail "it is not the same as before"
directory=$("$UMBRA" mount "$("$UMBRA" --json show kept | jq -r '.. | .shadows? // empty | .[0].id')")
grep -q before "$directory/file" || fail "it shows something else"
expect_status 0 "$UMBRA" unmount "$directory"
expect_status 0 "$UMBRA" delete kept
