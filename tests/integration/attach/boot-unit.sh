#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test installs the systemd unit of attached volumes, has systemd verify it together with a mount that needs it, and runs what it starts and
# stops: all volumes of umbratab, one on the other, attached and detached. And what udev asks for: a device's name.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program meson systemd-analyze

meson install -C "$BUILD" --no-rebuild --destdir "$WORK/dest" >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "meson install failed"; }
installed=$(find "$WORK/dest" -path '*/systemd/system/umbra-attached.service')
program=$(find "$WORK/dest" -type f -name umbra -perm -100)
mkdir "$WORK/units"
# Verified where it lies, with the programs where they lie.
sed "s|=${program#"$WORK/dest"} |=$program |" "$installed" >"$WORK/units/umbra-attached.service"
[ "$(grep -c "^Exec.*=$program " "$WORK/units/umbra-attached.service")" = 2 ] || fail "it runs something else: $(cat "$installed")"
# What a line of fstab becomes.
cat >"$WORK/units/srv.mount" <<'END_UNIT'
[Unit]
Requires=umbra-attached.service
After=umbra-attached.service
Before=local-fs.target
DefaultDependencies=no
Conflicts=umount.target
Before=umount.target
[Mount]
What=/dev/umbra/srv
Where=/srv
END_UNIT
verify() { SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$WORK"/units/*.service "$WORK"/units/*.mount >"$WORK/said" 2>&1; }
verify && [ ! -s "$WORK/said" ] || fail "systemd finds: $(cat "$WORK/said")"
# And it does find what is wrong.
cp "$WORK/units/umbra-attached.service" "$WORK/right"
sed -i 's/^RemainAfterExit=/RemainsAfterExit=/' "$WORK/units/umbra-attached.service"
verify || true
grep -q RemainsAfterExit "$WORK/said" || fail "a wrong key was not found: $(cat "$WORK/said")"

run_unit() { # run_unit ExecStart|ExecStop
  local line
  line=$(sed -n "s/^$1=//p" "$WORK/right")
  expect_status "$2" env UMBRA_CONFIG_DIR="$WORK/etc" "$BUILD/umbra" ${line#"$program "}
}
# One volume on another: the lower one is attached first, and can go only after the upper one.
lower=test-$$-lower upper=test-$$-upper
truncate -s 200M "$WORK/lower.origin"
cleanup_fn attached_away "$lower"
cleanup_fn attached_away "$upper"
printf '%s\n' "$lower $WORK/lower.origin" "$upper /dev/umbra/$lower chunk=4096" >"$WORK/etc/umbratab"
run_unit ExecStart 0
[ -b "/dev/umbra/$upper" ] || fail "not attached"
for name in "$lower" "$upper"; do
  device=$(realpath "/dev/umbra/$name")
  [ "$("$BUILD/umbra-cow" name "$(lsblk -dno MAJ:MIN "$device" | tr -d ' ')")" = "$name" ] || fail "udev does not hear the name of $device"
  # Not killed with all the others before the last filesystems are unmounted.
  for role in pid supervisor_pid; do
    [ "$(head -c 1 "/proc/$(attached_status "$name" $role)/cmdline")" = @ ] || fail "its programs would be killed too early"
  done
done
expect_status 1 "$BUILD/umbra-cow" name 1:3
run_unit ExecStart 0
mkfs.ext4 -q "/dev/umbra/$upper"
mkdir "$WORK/v"
cleanup_fn umount "$WORK/v"
mount "/dev/umbra/$upper" "$WORK/v"
"$UMBRA" --quiet create --no-writers "$WORK/v" >/dev/null
# What is mounted stays, and what it lies on; both are told.
run_unit ExecStop 1
expect_output "'$upper'|'$lower'"
[ -b "/dev/umbra/$upper" ] && [ -b "/dev/umbra/$lower" ] || fail "a mounted volume was taken away"
unmount_alone "$WORK/v"
# Also with a shadow copy, which goes with it: the machine goes down.
run_unit ExecStop 0
no_attached_left
run_unit ExecStop 0
