#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives the same commands to `umbra` with umbrad running and with --standalone, as root and as others, and expects the same documents, messages and statuses; and that
# the one goes over the bus and the other does not.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume a ext4 32M
make_volume b ext4 32M
chmod 755 "$WORK/a" "$WORK/b"
echo before >"$WORK/a/file"
make_writer one front-end
make_writer bad front-end '"components": []' '[ "$1" != freeze ] || { echo "cannot freeze" >&2; exit 1; }'
start_bus
start_umbrad
mkdir "$WORK/at"

# Over the bus or not: what the manager is called for.
busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short --match="type=method_call,interface=$UMBRA_NAME.Manager" monitor >"$WORK/calls" 2>"$WORK/monitor2" &
cleanup_fn kill_and_wait "$!"
wait_for 20 grep -q . "$WORK/monitor2" || fail "no monitor"
called() { grep -q "\"member\":\"$1\"" "$WORK/calls"; }

# What differs from one call to the next is left out: ids, times, figures, numbers of processes.
plain() {
  sed -E "s/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/ID/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g; s/\b[0-9a-f]{8}\b/ID/g" "$1" |
    sed -E 's/("(hold_ms|freeze_ms|storage_bytes|free_bytes|used_bytes|limit_percent|pid|prepare-backup|prepare-snapshot|freeze|thaw|post-snapshot|backup-complete|shutdown|identify|abort)": )[0-9.e-]+/\1N/; s/[0-9]+\.[0-9]+/N/g; s/ +/ /g; s#/dev/loop[0-9]+#/dev/loopN#g'
}
# What undoes the first of the two, where there is something to undo.
UNDO=:
# both METHOD WORD...: umbra WORD… each way; output, messages and status must be the same. METHOD: which has to be called (-: none)
both() {
  local over=$1 status_bus=0 status_alone=0; shift
  : >"$WORK/calls"
  "$UMBRA" "$@" >"$WORK/bus.out" 2>"$WORK/bus.err" || status_bus=$?
  [ "$over" = - ] || wait_for 10 called "$over" || fail "umbra $*: $over was not called: $(cat "$WORK/bus.err")"
  $UNDO
  : >"$WORK/calls"
  "$UMBRA" --standalone "$@" >"$WORK/alone.out" 2>"$WORK/alone.err" || status_alone=$?
  bus call org.freedesktop.DBus / org.freedesktop.DBus.Peer Ping >/dev/null
  ! called "$over" || fail "umbra --standalone $*: went over the bus"
  [ "$status_bus" = "$status_alone" ] || fail "umbra $*: status $status_bus over the bus, $status_alone alone: $(cat "$WORK/bus.err" "$WORK/alone.err")"
  for stream in out err; do
    diff <(plain "$WORK/alone.$stream") <(plain "$WORK/bus.$stream") || fail "umbra $*: std$stream differs"
  done
}
ids() { "$UMBRA" --standalone --json list sets | jq -r '.sets[].id'; }

# Making.
both CreateSet --json create --provider files --label x --no-writers "$WORK/a"
both CreateSet create --provider null --writer one "$WORK/a" "$WORK/b"
both CreateSet --json create --provider null "$WORK/a" # one writer fails: status 3, and its failure is said
grep -q 'cannot freeze' "$WORK/bus.err" || fail "the writer's failure: $(cat "$WORK/bus.err")"
both CreateSet create --provider null --require application --writer bad "$WORK/a"
both CreateSet create --provider none-such "$WORK/a"
both CreateSet --quiet create --provider null --no-writers --persistent "$WORK/a"
[ "$(ids | wc -l)" = 8 ] || fail "$(ids | wc -l) sets"

# Looking.
for what in sets shadows volumes providers storage; do
  both List --json list "$what"
  both List list "$what"
done
both List --json writers
first=$(ids | head -n 1)
both Show --json show "$first"
both Show show "${first:0:10}"
both Show show nobody
both Show show x # two of them
both Doctor --json doctor "$WORK/a"
both Doctor doctor "$WORK/a"
both Doctor doctor "$WORK/none"

# Showing.
shadow=$("$UMBRA" --standalone --json show "$first" | jq -r '.set.shadows[0].id')
unmount_it() { "$UMBRA" --standalone --quiet unmount "$shadow"; }
UNDO=unmount_it
both Mount mount "$shadow"
"$UMBRA" --standalone --quiet unmount "$shadow"
both Mount --json mount "$first" "$WORK/at"
UNDO=:
both Mount mount "$shadow"
both Mount mount "$shadow" "$WORK/none"
"$UMBRA" --standalone --quiet unmount "$shadow"
both Mount mount "$shadow" "$WORK/none"
mount_it() { "$UMBRA" --standalone --quiet mount "$shadow" "$WORK/at" >/dev/null; }
UNDO=mount_it
mount_it
(cd "$WORK" && both Unmount unmount ./at)
mount_it
both Unmount --json unmount "${shadow:0:8}"
UNDO=:
both Unmount unmount "$shadow"
both Unmount unmount "$WORK"

# Writers.
both TestWriter --json writers test one
both TestWriter writers test bad
both TestWriter writers test none-such
both EnableWriter writers disable one
both EnableWriter writers enable one
both EnableWriter writers enable none-such

# Removing. What one way has removed the other one removes of the same kind.
mapfile -t all < <(ids)
both Delete delete nobody
"$UMBRA" --json delete "${all[0]}" "${all[2]}" | jq -e '.deleted | length == 2' >/dev/null || fail "delete"
"$UMBRA" --standalone --json delete "${all[1]}" "${all[3]}" | jq -e '.deleted | length == 2' >/dev/null || fail "delete alone"
both DeleteOldest --json delete --oldest "$WORK/a"
make_two() { for _ in 1 2; do "$UMBRA" --standalone --quiet create --provider null --no-writers "$WORK/a" >/dev/null; done; }
UNDO=make_two
both List --json delete --all
[ -z "$(ids)" ] || fail "sets are left"

# A user who is not root, and one of the group.
cp "$UMBRA" "$WORK/umbra"
chmod 755 "$UMBRA_STATE_DIR" "$UMBRA_RUNTIME_DIR" "$UMBRA_CONFIG_DIR"
expect_status 0 as_user "$MEMBER" "$WORK/umbra" create --provider files --no-writers "$WORK/a"
id=$(ids)
expect_status 0 as_user "$STRANGER" "$WORK/umbra" list sets
expect_output "${id:0:8}"
expect_status 1 as_user "$STRANGER" "$WORK/umbra" delete "$id"
expect_output "^umbra: deleting '$id': "
expect_status 1 as_user "$STRANGER" "$WORK/umbra" create --no-writers "$WORK/a"
expect_status 1 as_user "$MEMBER" "$WORK/umbra" mount "$id" "$WORK/at"
expect_output "only root"
expect_status 0 as_user "$STRANGER" "$WORK/umbra" mount "$id"
[ "$(as_user "$STRANGER" cat "$(cat "$WORK/output")/file")" = before ] || fail "what a user mounts is not what it was"
expect_status 0 as_user "$STRANGER" "$WORK/umbra" unmount "$id"
expect_status 0 as_user "$MEMBER" "$WORK/umbra" delete "$id"

# Another umbrad than of these directories, or none: all goes on as before.
mkdir "$WORK/other"
: >"$WORK/calls"
expect_status 0 "$UMBRA" --state-dir "$WORK/other" list sets
! called List || fail "an umbrad of other directories was asked"
kill "$UMBRAD_PID"
wait "$UMBRAD_PID"
expect_status 0 "$UMBRA" list sets
