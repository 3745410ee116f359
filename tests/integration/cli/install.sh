#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test installs into a directory of its own, runs what is there, and uninstalls: nothing is left, and nothing else was touched.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
requires_program meson ninja

mkdir "$WORK/dest"
meson install -C "$BUILD" --no-rebuild --destdir "$WORK/dest" >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "meson install failed"; }
program=$(find "$WORK/dest" -type f -name umbra -perm -100)
[ -n "$program" ] || fail "no program was installed: $(find "$WORK/dest" -type f)"
expect_status 0 "$program" --version
expect_output '^umbra [0-9]+\.[0-9]+\.[0-9]+'
for file in man8/umbra.8 man8/umbra-backup.8 man7/umbra-writers.7 man5/umbra.conf.5 bash-completion/completions/umbra systemd/system/umbra-attached.service udev/rules.d/90-umbra.rules \
  sbin/umbrad man8/umbrad.8 man5/org.umbra.Umbra1.5 systemd/system/umbrad.service dbus-1/system-services/org.umbra.Umbra1.service \
  dbus-1/system.d/org.umbra.Umbra1.conf polkit-1/actions/org.umbra.Umbra1.policy sysusers.d/umbra.conf; do
  find "$WORK/dest" -type f -path "*/$file*" | grep . >/dev/null || fail "$file was not installed"
done
outside=$(find "$WORK/dest" -type f ! -path "$WORK/dest/usr/local/*")
[ -z "$outside" ] || fail "installed outside of the prefix: $outside"
ninja -C "$BUILD" uninstall >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "uninstall failed"; }
left=$(find "$WORK/dest" -type f)
[ -z "$left" ] || fail "uninstall left: $left"
