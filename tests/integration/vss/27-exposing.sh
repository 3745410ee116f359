#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 27 of the answered system: a shadow copy is mounted where it is asked for and unmounted; it is read-only, and no device for the unprivileged.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 64M
echo x >"$WORK/v/file" && cp /bin/true "$WORK/v/suid" && chmod 4755 "$WORK/v/suid" && mknod "$WORK/v/null" c 1 3
id=$("$UMBRA" --json create --provider clone --no-writers "$WORK/v" | jq -r .set.shadows[0].id)
mkdir "$WORK/here"
expect_status 0 "$UMBRA" mount "$id" "$WORK/here"
[ "$(cat "$WORK/output")" = "$WORK/here" ] || fail "it prints: $(cat "$WORK/output")"
cmp "$WORK/v/file" "$WORK/here/file" || fail "it shows something else"
for option in ro nosuid nodev; do findmnt -no OPTIONS "$WORK/here" | tr ',' '\n' | grep -x "$option" >/dev/null || fail "it is not $option"; done
touch "$WORK/here/new" 2>/dev/null && fail "it can be written to"
(: >"$WORK/here/null") 2>/dev/null && fail "its device nodes work"
device=$(findmnt -no SOURCE "$WORK/here")
[ "$(blockdev --getro "$device")" = 1 ] || fail "its device can be written to"
setpriv --reuid 65534 --regid 65534 --clear-groups head -c 1 "$device" >/dev/null 2>&1 && fail "anybody can read its device"
expect_status 0 "$UMBRA" unmount "$WORK/here"
findmnt "$WORK/here" >/dev/null && fail "it is still mounted"
expect_status 0 "$UMBRA" mount "$id"
expect_status 0 "$UMBRA" unmount "$id"
expect_status 0 "$UMBRA" delete --all
