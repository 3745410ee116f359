#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets through umbrad, waiting and not, looks at their objects, and sees them go: with signals for each step, errors by reason,
# and the same catalogue that `umbra` has.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
make_volume b ext4 32M
fault_setup
start_bus
start_umbrad
watch_signals

# Waiting: the set is there when the call comes back.
set=$(create_set 3 wait b true provider s fault label s first "$WORK/a" "$WORK/b")
[ "$(property "$set" Set State)" = ready ] || fail "state $(property "$set" Set State)"
id=$(property "$set" Set Id)
[ "$set" = "$(set_of_id "$id")" ] || fail "the path is not the id's"
[ "$(property "$set" Set Label)" = first ] && [ "$(property "$set" Set Consistency)" = application ] || fail "properties"
[ "$(property "$set" Set Shadows | jq length)" = 2 ] || fail "shadows: $(property "$set" Set Shadows)"
property "$set" Set Document >"$WORK/document"
"$UMBRA" --json show "$id" | jq -S .set >"$WORK/shown"
jq -S . "$WORK/document" | diff - "$WORK/shown" || fail "the document is not what umbra shows"
jq -e '.hold_ms > 0' "$WORK/document" >/dev/null && [ "$(property "$set" Set HoldMs)" = "$(jq .hold_ms "$WORK/document")" ] ||
  [ -n "$(property "$set" Set HoldMs)" ] || fail "HoldMs"
[ "$(sets_on_bus)" = "$id" ] || fail "ListSets"
wait_for 10 said SetNew ".payload.data[0] == \"$id\"" || fail "no SetNew: $(cat "$WORK/signals")"
wait_for 10 said Ready ".path == \"$set\" and .payload.data[0]" || fail "no Ready"
wait_for 10 said InterfacesAdded ".payload.data[0] == \"$set\"" || fail "no InterfacesAdded"
wait_for 10 said PropertiesChanged ".path == \"$set\" and .payload.data[1].State.data == \"ready\"" || fail "no PropertiesChanged"
wait_for 10 said Progress ".path == \"$set\"" || true # as the provider has it

# Its end, by either name.
manage DeleteSet o "$set" >/dev/null
[ -z "$(sets_on_bus)" ] || wait_for 10 test -z "$(sets_on_bus)" || fail "still there: $(sets_on_bus)"
wait_for 10 said SetRemoved ".payload.data[0] == \"$id\"" || fail "no SetRemoved"
wait_for 10 said InterfacesRemoved ".payload.data[0] == \"$set\"" || fail "no InterfacesRemoved"
[ -z "$(ls "$WORK/made")" ] || fail "the provider has something left"
refused NotFound manage DeleteSet o "$set"
refused "Unknown object" on_set "$set" Delete

# Not waiting: the object is there at once, and says when it is done.
fault_at writer:freeze SELF-STOP
set=$(create_set 1 provider s fault "$WORK/a")
[ "$(property "$set" Set State)" = creating ] || fail "state $(property "$set" Set State)"
refused BadState manage DeleteSet o "$set"
refused BadState on_set "$set" Complete b true
on_set "$set" Wait >"$WORK/waited" 2>&1 &
waiting=$!
wait_for 10 struck || fail "freeze was never reached"
on_set "$set" Cancel >/dev/null
if wait "$waiting"; then fail "Wait of a cancelled set succeeded"; fi
grep -qi cancel "$WORK/waited" || fail "Wait: $(cat "$WORK/waited")"
[ "$(property "$set" Set State)" = failed ] && property "$set" Set Failure | grep -qi cancel || fail "no failure is said"
wait_for 10 said Ready ".path == \"$set\" and (.payload.data[0] | not)" || fail "no Ready of the failure"
writes_within 1 a
on_set "$set" Delete >/dev/null
[ -z "$(sets_on_bus)" ] || fail "a failed set stays after Delete"
nothing_left a

# A writer that hangs harms no other set.
fault_at writer:freeze SELF-STOP
slow=$(create_set 1 provider s fault "$WORK/a")
wait_for 10 struck || fail "freeze was never reached"
mv "$UMBRA_CONFIG_DIR/writers.d/witness" "$WORK/witness"
fast=$(create_set 2 wait b true provider s null "$WORK/b")
[ "$(property "$fast" Set State)" = ready ] && [ "$(property "$slow" Set State)" = creating ] || fail "one waits for the other"
on_set "$slow" Cancel >/dev/null
refused Cancelled on_set "$slow" Wait
on_set "$slow" Delete >/dev/null
on_set "$fast" Delete >/dev/null

# What is wrong is said by reason, as libumbra says it.
refused NotFound create_set 2 wait b true provider s none-such "$WORK/a"
refused Invalid create_set 1 no-such-option s x "$WORK/a"
refused Invalid create_set 0 relative/path
refused Invalid manage CreateSet "asa{sv}" 0 0
refused NotFound create_set 0 "$WORK/not-there"
refused Invalid manage CreateSet "asa{sv}" 1 "$WORK/a" 1 label i 7
refused NotFound manage Show s no-such-set
refused Consistency manage CreateSet "asa{sv}" 1 "$WORK/b" 3 wait b true provider s null require as 2 instant application
[ -z "$(sets_on_bus)" ] || fail "sets are left: $(sets_on_bus)"

# In order: nothing is left of it.
kill "$UMBRAD_PID"
status=0; wait "$UMBRAD_PID" || status=$?
[ "$status" = 0 ] || fail "status $status: $(cat "$WORK/umbrad.log")"
wait_for 10 no_umbrad_left || fail "a process of umbrad's is left: $(umbrad_left)"
