#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is a nuisance to umbrad: calls that mean nothing, floods of them, a thousand connections, leaving in the midst. The limits of calls hold, memory stays bounded, others
# are served meanwhile, and nothing is left.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
fault_setup
start_bus
start_umbrad
none_there() { [ -z "$(sets_on_bus)" ]; }
rss_kib() { awk '/^VmRSS/ { n += $2 } END { print n }' "/proc/$UMBRAD_PID/status" "/proc/$HOST_PID/status"; }
manage ListSets >/dev/null
first_kib=$(rss_kib)

# Garbage of all kinds, by many at once: each is answered, none ends umbrad, and no set comes of it.
pids=()
for seed in 1 2 3 4; do "$CLIENT" garbage 400 "$seed" >"$WORK/garbage.$seed" 2>&1 & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || fail "a call was not answered: $(cat "$WORK"/garbage.*)"; done
[ "$(manage ListSets | jq '.data[0] | length')" = 0 ] || fail "a set came of garbage"
[ "$(bus call "$UMBRA_NAME" "$MANAGER" org.freedesktop.DBus.Properties Get ss "$UMBRA_NAME.Manager" Version | jq -r '.data[0].data')" != "" ] || fail "it lives no more"

# A flood of one connection: so many as one may are made, the others refused by name.
fault_at writer:prepare-backup SELF-STOP
holder=$(create_set 1 provider s fault "$WORK/a") # waits, and with it all that want the volume
wait_for 30 struck || fail "it was never reached"
mv "$UMBRA_CONFIG_DIR/writers.d/witness" "$WORK/witness"
# One ordinary user uses up what is his, not what is ordinary users'.
call_as() { as_user "$1" busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call "$UMBRA_NAME" "${@:2}"; }
pids=()
for _ in 1 2 3 4; do
  setpriv --reuid="$STRANGER" --regid="$(id -g "$STRANGER")" --init-groups busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" \
    call "$UMBRA_NAME" "$holder" "$UMBRA_NAME.Set" Wait >/dev/null 2>&1 &
  pids+=($!)
done
used_up() { ! call_as "$STRANGER" "$MANAGER" "$UMBRA_NAME.Manager" List s sets >"$WORK/output" 2>&1; }
wait_for 20 used_up || fail "a user has more than 4"
grep -q "of one user" "$WORK/output" || fail "refused otherwise: $(cat "$WORK/output")"
call_as bin "$MANAGER" "$UMBRA_NAME.Manager" List s sets >/dev/null || fail "one user keeps another out"
kill "${pids[@]}"
wait "${pids[@]}" || true
has_some() { ! used_up; }
wait_for 20 has_some || fail "who left still counts"
"$CLIENT" flood 200 null "$WORK/a" >"$WORK/flood" 2>&1 &
flooding=$!
busy() { [ "$(manage ListSets | jq '.data[0] | length')" = 17 ]; }
wait_for 60 busy || fail "not 16 of one connection: $(manage ListSets | jq '.data[0] | length')"
# Another connection has its own.
"$UMBRA" --json list sets >/dev/null
manage Doctor as 1 "$WORK/a" >/dev/null || fail "a flood keeps others out"
# In all: four more connections are too many for the limit of all.
pids=()
for _ in 1 2 3 4; do "$CLIENT" flood 16 null "$WORK/a" >"$WORK/flood.$((${#pids[@]} + 1))" 2>&1 & pids+=($!); done
all_busy() { [ "$(manage ListSets 2>/dev/null | jq '.data[0] | length')" = 64 ]; }
wait_for 60 all_busy || fail "not 64 in all: $(manage ListSets | jq '.data[0] | length')"
refused Limit manage Recover
[ "$(property "$holder" Set State)" = creating ] || fail "properties wait"
on_set "$holder" Cancel >/dev/null
wait "$flooding" || fail "the flood: $(cat "$WORK/flood")"
grep -qx 'made 16 limit 184 other 0' "$WORK/flood" || fail "the flood: $(cat "$WORK/flood")"
for pid in "${pids[@]}"; do wait "$pid" || fail "a flood of several"; done
made=$(cat "$WORK"/flood.? | awk '{ made += $2; limit += $4; other += $6 } END { print made, limit, other }')
[ "$made" = "47 17 0" ] || fail "of several: made, refused, other: $made"
on_set "$holder" Delete >/dev/null
"$UMBRA" --quiet delete --all
wait_for 30 none_there || fail "sets are left: $(sets_on_bus)"

# Leaving in the midst, again and again: what belonged to those who left goes.
for _ in 1 2 3 4 5 6; do "$CLIENT" leave 10 null "$WORK/a"; done
wait_for 60 none_there || fail "sets of those who left: $(sets_on_bus)"
no_jobs() { ! pgrep -P "$HOST_PID" >/dev/null; }
wait_for 60 no_jobs || fail "jobs of those who left: $(pgrep -P "$HOST_PID")"

# A thousand connections at once are served, and so is another beside them.
mkfifo "$WORK/leave"
"$CLIENT" connections 1000 <"$WORK/leave" >"$WORK/connections" &
connected=$!
cleanup_fn kill_and_wait "$connected"
exec 9>"$WORK/leave"
wait_for 60 grep -q . "$WORK/connections" || fail "a thousand connections are not served"
grep -qx 'answered 1000' "$WORK/connections" || fail "$(cat "$WORK/connections")"
set=$(create_set 2 wait b true provider s null "$WORK/a") || fail "kept out by connections"
manage DeleteSet o "$set" >/dev/null
echo >&9
wait "$connected"

last_kib=$(rss_kib)
echo "$first_kib KiB before, $last_kib KiB after"
# A sanitizer keeps what is freed.
grep -q __asan_init "$UMBRAD" || [ "$last_kib" -lt $((first_kib + 16 * 1024)) ] || fail "memory: $first_kib KiB before, $last_kib KiB after"
