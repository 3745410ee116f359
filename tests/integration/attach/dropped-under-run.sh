#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test drops the shadow copy of an attached volume while a program under umbra run reads it: the program gets an error, umbra run says
# why, the lists say it meanwhile, and the set goes with the program.
# alone
# (the namespace of the program keeps what other tests have mounted, where mounts are not shared)
# timeout: 60
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

fill() { dd if=/dev/urandom of="$WORK/v/$1" bs=1M count="$2" conv=notrunc,fsync status=none; }
attached_volume v ext4 100M --limit 8388608
fill a 20
mkfifo "$WORK/go" "$WORK/there"
# shellcheck disable=SC2016
"$UMBRA" run --no-writers --of "$WORK/v" -- sh -c 'echo >"$1"; read -r _ <"$2"; cat "$3" >/dev/null' - "$WORK/there" "$WORK/go" "$WORK/v/a" 2>"$WORK/run.err" &
RUN=$!
cleanup_fn kill_and_wait "$RUN"
read -r _ <"$WORK/there"
"$UMBRA" --json list | jq -e '.shadows | length == 1 and .[0].state == "in-use"' >/dev/null || fail "$("$UMBRA" list)"
fill a 20
"$UMBRA" --json list sets | jq -e '.sets | length == 1 and .[0].state == "dropped" and .[0].owner' >/dev/null || fail "$("$UMBRA" --json list sets)"
echo >"$WORK/go"
status=0
wait "$RUN" || status=$?
[ "$status" != 0 ] || fail "the program read all of a shadow copy that was dropped"
grep -q "the shadow copy of volume '$WORK/v' was not whole to the end (dropped: the storage is full)" "$WORK/run.err" || fail "$(cat "$WORK/run.err")"
"$UMBRA" --json list | jq -e '.shadows == []' >/dev/null || fail "the set of run is left"
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
no_attached_left
