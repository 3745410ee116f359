#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives an attached volume's directory a name of another one's device, as one that is on its way out has when the device's number is given
# anew: the other one is still found by its own directory, and its shadow copies are made by its own server.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq

attached_volume first ext4 64M --front fuse
first=$ATTACHED
attached_volume second ext4 64M --front fuse
second=$ATTACHED
kept=$(readlink "$UMBRA_RUNTIME_DIR/attached/$first/device")
ln -sfn "$(readlink -f "/dev/umbra/$second")" "$UMBRA_RUNTIME_DIR/attached/$first/device"
"$UMBRA" --json create --provider cow --no-writers "$WORK/second" >"$WORK/set" || fail "no shadow copy"
[ "$(attached_status "$second" shadows)" = 1 ] || fail "its own server did not make it"
[ "$(attached_status "$first" shadows)" = 0 ] || fail "another volume's server made it"
ln -sfn "$kept" "$UMBRA_RUNTIME_DIR/attached/$first/device"
"$UMBRA" --quiet delete --all
for name in first second; do
  unmount_alone "$WORK/$name"
  "$UMBRA" detach "${!name}"
done
no_attached_left
