#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches a volume in a virtual machine with Linux 6.1, which has no ublk: FUSE is taken, and who asks is told why.
# timeout: 300
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/attached.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq python3 mkfs.ext4 e2fsck
in_vm --kernel bookworm --append no_timer_check --timeout 280 --disk 100M --disk 200M

NAME=srv
modprobe -a loop fuse
cleanup_fn attached_away "$NAME"
expect_status 1 "$UMBRA" attach --front ublk --storage /dev/vdb /dev/vda "$NAME"
expect_output "the kernel has no ublk \(module ublk_drv; Linux 6.5 or later\)"
expect_status 1 "$UMBRA" attach --front nothing --storage /dev/vdb /dev/vda "$NAME"
expect_output "'front' cannot be 'nothing'"
"$UMBRA" attach --storage /dev/vdb /dev/vda "$NAME" >/dev/null
[ "$(attached_status "$NAME" front)" = fuse ] || fail "the front is $(attached_status "$NAME" front)"
mkfs.ext4 -q -F "/dev/umbra/$NAME"
mkdir "$WORK/v"
cleanup_fn umount -R "$WORK/v"
mount "/dev/umbra/$NAME" "$WORK/v"
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor"
grep -q "front: *fuse: the kernel has no ublk" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
"$UMBRA" --json list volumes | jq -e ".volumes[] | select(.volume == \"$WORK/v\").attached | .front == \"fuse\" and (.front_why | test(\"no ublk\"))" >/dev/null ||
  fail "$("$UMBRA" --json list volumes)"
echo "then" >"$WORK/v/file"
id=$("$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0] | select(.provider == "cow").id')
echo now >"$WORK/v/file"
sync -f "$WORK/v"
tree=$("$UMBRA" mount "$id")
[ "$(cat "$tree/file")" = "then" ] || fail "the shadow copy says $(cat "$tree/file")"
"$UMBRA" unmount "$tree"
"$UMBRA" --quiet delete --all
umount "$WORK/v"
"$UMBRA" detach "$NAME"
e2fsck -fn /dev/vda >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the volume is damaged"; }
[ -z "$(ls -A "$UMBRA_RUNTIME_DIR/attached")" ] || fail "left: $(ls "$UMBRA_RUNTIME_DIR/attached")"
