#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test asks umbrad as root, as a member of its group, and as others, with and without polkit: who may make sets, who may look into which shadow copy, what mounts of
# users are like, and that umbrad's process on the bus has no privilege itself.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
requires_root

chmod 755 "$UMBRA_STATE_DIR" # only $UMBRA_RUNTIME_DIR is opened by umbrad itself, and as far as is needed
make_volume open ext4 32M
mkdir -m 700 "$WORK/private"
make_volume private/closed ext4 32M
CLOSED=$WORK/private/closed
chmod 755 "$WORK/open" "$CLOSED"
echo everybody >"$WORK/open/everybody"
echo root >"$WORK/open/root"
chmod 600 "$WORK/open/root"
cp /usr/bin/id "$WORK/open/id"
chmod 4755 "$WORK/open/id"
mknod -m 666 "$WORK/open/null" c 1 3
echo secret >"$CLOSED/secret"
chmod 644 "$CLOSED/secret"
cp "$BUILD/tests/bus-client" "$WORK/client" # the build directory may be out of reach
start_bus
umask 077 # as the unit has it
start_umbrad
umask 022

# The process on the bus: its user, no capability whatever, none to come.
grep -q "^Uid:.*$(id -u "$UMBRAD_USER")" "/proc/$UMBRAD_PID/status" || fail "not user $UMBRAD_USER"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
  [ "$(awk -v s="$set:" '$1 == s { print $2 }' "/proc/$UMBRAD_PID/status")" = 0000000000000000 ] || fail "$set is not empty"
done
grep -q '^NoNewPrivs:.*1' "/proc/$UMBRAD_PID/status" || fail "new privileges are possible"
grep -q "^Groups:[[:space:]]*$" "/proc/$UMBRAD_PID/status" || fail "supplementary groups: $(grep ^Groups "/proc/$UMBRAD_PID/status")"
expect_status 1 "$UMBRAD" --user root

# Root and the group make sets; others do not.
open_set=$(create_set 2 wait b true provider s files "$WORK/open")
export -f bus manage create_set on_set on_shadow property
as() { local user=$1; shift; as_user "$user" env UMBRA_NAME="$UMBRA_NAME" MANAGER="$MANAGER" bash -o pipefail -c '"$@"' - "$@"; }
closed_set=$(as "$MEMBER" create_set 2 wait b true provider s files "$CLOSED") || fail "a member may not"
refused Access as "$STRANGER" create_set 2 wait b true provider s files "$WORK/open"
refused Access as "$STRANGER" manage DeleteSet o "$open_set"
refused Access as "$STRANGER" on_set "$open_set" Delete
refused Access as "$STRANGER" manage TestWriter s x
refused Access as "$STRANGER" manage EnableWriter sb x false
refused Access as "$STRANGER" manage Doctor as 0
refused Access as "$STRANGER" manage Recover
refused Access as "$STRANGER" manage List s components # it runs writers' programs

# Everybody lists and reads properties.
[ "$(as "$STRANGER" manage ListSets | jq '.data[0] | length')" = 2 ] || fail "a stranger does not see the sets"
as "$STRANGER" manage ListWriters >/dev/null || fail "a stranger does not see the writers"
[ "$(as "$STRANGER" property "$open_set" Set State)" = ready ] || fail "a stranger does not see properties"

# A shadow copy of what he can read is a user's to open and to mount; of what he cannot, not. Inside his own rights hold.
open_shadow=$(property "$open_set" Set Shadows | jq -r '.[0]')
closed_shadow=$(property "$closed_set" Set Shadows | jq -r '.[0]')
[ "$(as_user "$STRANGER" "$WORK/client" open "$open_shadow" everybody)" = everybody ] || fail "open"
as_user "$STRANGER" "$WORK/client" open "$open_shadow" root >"$WORK/output" 2>&1 && fail "open shows what only root may read"
grep -q "Permission denied" "$WORK/output" || fail "$(cat "$WORK/output")"
refused Access as_user "$STRANGER" "$WORK/client" open "$closed_shadow" secret
refused Access as "$STRANGER" on_shadow "$closed_shadow" Mount bb false false
directory=$(as "$STRANGER" on_shadow "$open_shadow" Mount bb true true | jq -r '.data[0]')
[ "$directory" = "$UMBRA_RUNTIME_DIR/users/$(id -u "$STRANGER")/$(property "$open_shadow" Shadow Id)" ] || fail "mounted at $directory"
[ "$(as_user "$STRANGER" cat "$directory/everybody")" = everybody ] || fail "he cannot read what he has mounted"
as_user "$STRANGER" cat "$directory/root" 2>/dev/null && fail "a mount shows what only root may read"
[ "$(as_user "$STRANGER" "$directory/id" -u)" = "$(id -u "$STRANGER")" ] || fail "a set-user-ID program works in a user's mount"
as_user "$STRANGER" cat "$directory/null" 2>/dev/null && fail "a device works in a user's mount"
as_user "$STRANGER" touch "$directory/x" 2>/dev/null && fail "it can be written"
as_user "$MEMBER" ls "$directory" 2>/dev/null && fail "another user reaches it"
as_user "$STRANGER" mkdir "$UMBRA_RUNTIME_DIR/users/$(id -u "$STRANGER")/mine" 2>/dev/null && fail "he can change where umbrad mounts"
for folder in sets volumes mounts mnt; do
  as_user "$STRANGER" ls "$UMBRA_RUNTIME_DIR/$folder" 2>/dev/null && fail "$folder is open to everybody"
done
mounted() { [ -n "$(property "$open_shadow" Shadow Mount)" ]; }
wait_for 10 mounted || fail "Mount is not told"
refused Access as bin on_shadow "$open_shadow" Unmount
as "$STRANGER" on_shadow "$open_shadow" Unmount >/dev/null || fail "he cannot unmount it himself"
[ ! -e "$directory" ] || fail "$directory is left"

# What was his when it was listed last, and is root's by now, is not his to unmount: the job looks, which is root.
as "$STRANGER" on_shadow "$open_shadow" Mount bb false false >/dev/null
wait_for 10 mounted || fail "Mount is not told"
id=$(property "$open_shadow" Shadow Id)
busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short --match="type=method_call,member=Unmount" monitor >"$WORK/calls" 2>"$WORK/monitor2" &
cleanup_fn kill_and_wait "$!"
wait_for 20 grep -q . "$WORK/monitor2" || fail "no monitor"
unmount_asked() { grep -q '"member":"Unmount"' "$WORK/calls" && bus get-property "$UMBRA_NAME" "$MANAGER" "$UMBRA_NAME.Manager" Version; }
kill -STOP "$HOST_PID" # what changes is not listed
cleanup_fn kill -CONT "$HOST_PID"
"$UMBRA" --standalone --quiet unmount "$id"
mkdir "$WORK/roots"
"$UMBRA" --standalone --quiet mount "$id" "$WORK/roots"
as "$STRANGER" on_shadow "$open_shadow" Unmount >"$WORK/output" 2>&1 &
asking=$!
wait_for 10 unmount_asked || fail "Unmount is not on its way"
kill -CONT "$HOST_PID"
if wait "$asking"; then fail "a user has unmounted what is root's"; fi
grep -q "no shadow copy is mounted there" "$WORK/output" || fail "refused otherwise: $(cat "$WORK/output")"
mountpoint -q "$WORK/roots" || fail "what root mounted is gone"
"$UMBRA" --standalone --quiet unmount "$WORK/roots"

# The mount point is another now: what is there is no proof.
umount "$CLOSED"
chmod 755 "$WORK/private" "$CLOSED"
refused Access as_user "$STRANGER" "$WORK/client" open "$closed_shadow" secret
mount -t tmpfs none "$CLOSED"
refused Access as_user "$STRANGER" "$WORK/client" open "$closed_shadow" secret
umount "$CLOSED"
mount --bind "$WORK/open" "$CLOSED"
refused Access as_user "$STRANGER" "$WORK/client" open "$closed_shadow" secret
umount "$CLOSED"

# With polkit: asked of the right action, with the caller's name, and its answer counts.
echo no >"$WORK/polkit-says"
"$BUILD/tests/fake-polkit" "$WORK/polkit-says" >"$WORK/polkit" &
POLKIT_PID=$!
cleanup_fn kill_and_wait "$POLKIT_PID"
polkit_is_there() { bus status org.freedesktop.PolicyKit1; }
wait_for 10 polkit_is_there || fail "no polkit"
refused Access as "$STRANGER" create_set 2 wait b true provider s null "$WORK/open"
grep -q '^org.umbra.manage :' "$WORK/polkit" || fail "polkit was not asked: $(cat "$WORK/polkit")"
refused Access as_user "$STRANGER" "$WORK/client" open "$closed_shadow" secret
grep -q '^org.umbra.mount :' "$WORK/polkit" || fail "polkit was not asked: $(cat "$WORK/polkit")"
: >"$WORK/polkit"
as "$MEMBER" manage Recover >/dev/null && manage Recover >/dev/null
[ ! -s "$WORK/polkit" ] || fail "polkit was asked of those who may: $(cat "$WORK/polkit")"
echo yes >"$WORK/polkit-says"
set=$(as "$STRANGER" create_set 2 wait b true provider s null "$WORK/open") || fail "authorised, yet refused"
as "$STRANGER" manage DeleteSet o "$set" >/dev/null || fail "authorised, yet not to delete"
[ "$(as_user "$STRANGER" "$WORK/client" open "$closed_shadow" secret)" = secret ] || fail "authorised, yet not shown"
directory=$(as "$STRANGER" on_shadow "$closed_shadow" Mount bb true true | jq -r '.data[0]')
findmnt -no OPTIONS "$directory" | grep -q 'nosuid.*nodev' || fail "authorised to look, he has programs and devices: $(findmnt -no OPTIONS "$directory")"

# polkit that does not answer holds nobody else up, and who leaves is forgotten.
echo never >"$WORK/polkit-says"
as_user "$STRANGER" busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call "$UMBRA_NAME" "$MANAGER" "$UMBRA_NAME.Manager" Recover >/dev/null 2>&1 &
pid=$!
asked() { grep -q '^org.umbra.manage' "$WORK/polkit"; }
: >"$WORK/polkit"
as_user "$STRANGER" busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call "$UMBRA_NAME" "$MANAGER" "$UMBRA_NAME.Manager" Recover >/dev/null 2>&1 &
other=$!
wait_for 10 asked || fail "polkit was not asked"
manage Recover >/dev/null || fail "held up by polkit"
kill "$pid" "$other"
wait "$pid" "$other" || true

"$UMBRA" --quiet delete --all
