#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes, mounts and removes shadow copies with `umbra` while umbrad runs, and with umbrad, and expects each on the bus and in the catalogue; opens one;
# lists, tests and disables writers; is told of low storage.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume a ext4 32M
make_volume small ext4 16M
echo before >"$WORK/a/file"
make_writer one front-end
start_bus
start_umbrad
watch_signals

# What umbra makes appears, and goes.
id=$("$UMBRA" --json create --provider files --label mine "$WORK/a" | jq -r .set.id)
set=$(set_of_id "$id")
wait_for 10 property "$set" Set State || fail "the set does not appear"
[ "$(property "$set" Set State) $(property "$set" Set Label)" = "ready mine" ] || fail "its properties"
shadow=$(property "$set" Set Shadows | jq -r '.[0]')
[ "$(property "$shadow" Shadow Volume) $(property "$shadow" Shadow Provider) $(property "$shadow" Shadow Set)" = "$WORK/a files $set" ] || fail "the shadow copy's properties"
[ "$(property "$shadow" Shadow StorageBytes)" -gt 0 ] || fail "StorageBytes"
bus call "$UMBRA_NAME" "$MANAGER" org.freedesktop.DBus.ObjectManager GetManagedObjects >"$WORK/objects"
for object in "$set" "$shadow"; do jq -e --arg o "$object" '.data[0][$o]' "$WORK/objects" >/dev/null || fail "$object is not managed"; done
wait_for 10 said InterfacesAdded ".payload.data[0] == \"$shadow\"" || fail "no InterfacesAdded of the shadow copy"

# It is shown, as it was.
echo after >"$WORK/a/file"
shadow_id=$(property "$shadow" Shadow Id)
directory=$("$UMBRA" mount "$shadow_id")
mounted_at() { [ "$(property "$shadow" Shadow Mount)" = "$1" ]; }
wait_for 10 mounted_at "$directory" || fail "Mount: '$(property "$shadow" Shadow Mount)'"
on_shadow "$shadow" Unmount >/dev/null
wait_for 10 mounted_at "" || fail "Mount after Unmount"
directory=$(on_shadow "$shadow" Mount bb false false | jq -r '.data[0]')
[ "$(cat "$directory/file")" = before ] || fail "mounted: $(cat "$directory/file")"
wait_for 10 mounted_at "$directory" || fail "Mount: '$(property "$shadow" Shadow Mount)' instead of '$directory'"
wait_for 10 said PropertiesChanged ".path == \"$shadow\" and .payload.data[1].Mount.data == \"$directory\"" || fail "no PropertiesChanged of Mount"
refused Busy on_shadow "$shadow" Mount bb false false
"$UMBRA" --quiet unmount "$shadow_id"
wait_for 10 mounted_at "" || fail "Mount after unmount"
[ "$("$CLIENT" open "$shadow" file)" = before ] || fail "opened"
before=$(wc -l </proc/mounts)
"$CLIENT" open "$shadow" file >/dev/null
[ "$(wc -l </proc/mounts)" = "$before" ] || fail "to open it left a mount"

manage Show s mine | jq -r '.data[0]' | jq -e --arg id "$id" '.set.id == $id' >/dev/null || fail "Show"
manage Doctor as 1 "$WORK/a" | jq -r '.data[0]' | jq -S '.volumes[0].providers | map(.name)' >"$WORK/doctor"
"$UMBRA" --json doctor "$WORK/a" | jq -S '.volumes[0].providers | map(.name)' | diff - "$WORK/doctor" || fail "Doctor"
"$UMBRA" delete "$id"
gone() { ! property "$set" Set State; }
wait_for 10 gone || fail "the set does not go"
wait_for 10 said InterfacesRemoved ".payload.data[0] == \"$shadow\"" || fail "no InterfacesRemoved of the shadow copy"
[ "$(manage Recover | jq '.data[0]')" = 0 ] || fail "Recover"

# A set that belongs to a program is there as long as that.
mkfifo "$WORK/hold"
"$UMBRA" run --provider files --of "$WORK/a" -- sh -c 'read -r line' <"$WORK/hold" >/dev/null 2>&1 &
running=$!
exec 7>"$WORK/hold"
one_in_use() { [ "$(bus call "$UMBRA_NAME" "$MANAGER" org.freedesktop.DBus.ObjectManager GetManagedObjects | jq '[.data[0][]["org.umbra.Umbra1.Set"]? | select(.State.data == "in-use")] | length')" = 1 ]; }
wait_for 20 one_in_use || fail "the set of a running program is not there: $(manage ListSets)"
exec 7>&-
wait "$running" || true
none_there() { [ -z "$(sets_on_bus)" ]; }
wait_for 10 none_there || fail "the set of a program that ended is still there"

# Writers.
writer=$MANAGER/writer/one
[ "$(property "$writer" Writer Name) $(property "$writer" Writer Kind) $(property "$writer" Writer State)" = "one exec stable" ] || fail "the writer's properties"
manage ListWriters | jq -e '.data[0] | map(select(.[0] == "one" and .[3] == "exec")) | length == 1' >/dev/null || fail "ListWriters"
manage TestWriter s one | jq -r '.data[0]' | jq -e '.degraded == false and .writers[0].name == "one" and .hold_ms > 0' >/dev/null || fail "TestWriter"
refused NotFound manage TestWriter s none-such
refused NotFound manage EnableWriter sb none-such true
manage EnableWriter sb one false >/dev/null
no_writer() { ! property "$writer" Writer State; }
wait_for 10 no_writer || fail "a disabled writer is still there"
"$UMBRA" writers enable one
wait_for 10 property "$writer" Writer State || fail "an enabled writer does not come back"
make_writer two back-end
wait_for 10 property "$MANAGER/writer/two" Writer Level || fail "a new writer does not appear"

# Storage that gets full.
! said LowStorage >/dev/null || fail "LowStorage of storage that is not"
mkdir "$WORK/small/storage"
fallocate -l 11900K "$WORK/small/full" || fail "fallocate"
"$UMBRA" --quiet create --provider files --storage "$WORK/small/storage" "$WORK/a" >/dev/null
wait_for 10 said LowStorage ".payload.data[0] == \"$WORK/small/storage\" and .payload.data[1] < .payload.data[2] / 10" || fail "no LowStorage: $(df "$WORK/small")"
"$UMBRA" --quiet delete --all
wait_for 10 none_there || fail "sets are left"
