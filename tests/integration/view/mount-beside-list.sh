#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test has somebody list what there is while a shadow copy is being mounted, both slowed down where they meet: a mount that has been noted and is
# not there yet is not forgotten.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 strace

make_volume v ext4 32M
id=$("$UMBRA" --json create --no-writers --provider null "$WORK/v" | jq -r '.set.shadows[0].id')
slowed() { strace -qq -f -o /dev/null -e trace="$1" -e inject="$1:delay_enter=$2" "$UMBRA" --standalone "${@:3}"; }
slowed move_mount 1000000 mount "$id" >/dev/null &
mounting=$!
wait_for 20 test -s "$UMBRA_RUNTIME_DIR/mounts/$id" || fail "the mount is not noted"
slowed unlinkat 2000000 list >/dev/null
wait "$mounting" || fail "mount: status $?"
[ "$("$UMBRA" --standalone --json list | jq -r '.shadows[0].mount')" != null ] || fail "a mount is forgotten"
"$UMBRA" --standalone unmount "$id" >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
