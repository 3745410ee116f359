#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test interrupts umbra revert: storage that gets full, a server that is killed, an umbra that is killed. The volume is called half reverted from
# then on, over a detach, too, until it is done again; then it is what the shadow copy is. A killed server's successor goes on by itself.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq

FILE_MIB=${FILE_MIB:-48}
mkdir "$WORK/storage"
OPTIONS=(--persistent --storage "$WORK/storage" --full stop-writes)
attached_volume v ext4 200M "${OPTIONS[@]}" --limit 83886080 --chunk 4096
create() { "$UMBRA" --json create --provider cow --no-writers --persistent "$WORK/v" | jq -r '.set.shadows[0].id'; }
fill() { dd if=/dev/urandom of="$WORK/v/file" bs=1M count="$FILE_MIB" conv=notrunc,fsync status=none; }
# half: the shadow copy that the volume is half reverted to, or nothing
half() { "$UMBRA" --json list storage 2>/dev/null | jq -r --arg n "$ATTACHED" '.storage[] | select(.attached == $n) | .reverting // empty'; }
is_reverted() {
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  [ "$(sha256sum <"$WORK/v/file")" = "$then" ] || fail "$1: the file is not what it was"
  unmount_alone "$WORK/v"
}

fill
then=$(sha256sum <"$WORK/v/file")
one=$(create)
fill
two=$(create)
unmount_alone "$WORK/v"

# What the second one needs of the file has no room beside what the first one needs.
[ -z "$(half)" ] || fail "half reverted before any revert"
expect_status 1 "$UMBRA" revert "$one"
expect_output "the volume '$ATTACHED' is half reverted: do not use it, and do it again \(umbra revert ${one:0:8}\)"
[ "$(half)" = "$one" ] || fail "list storage says '$(half)'"
expect_status 1 "$UMBRA" list storage
expect_output "'$ATTACHED' is half reverted"
expect_status 1 "$UMBRA" detach "$ATTACHED"
expect_output 'is half reverted: end that first'
"$UMBRA" detach --force "$ATTACHED"
"$UMBRA" attach "${OPTIONS[@]}" "$ORIGIN" "$ATTACHED" >/dev/null
[ "$(half)" = "$one" ] || fail "forgotten over a detach"
mount -o ro,noload "/dev/umbra/$ATTACHED" "$WORK/v"
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor" || true
grep -q "HALF REVERTED to ${one:0:8}" "$WORK/doctor" || fail "doctor does not say it: $(cat "$WORK/doctor")"
unmount_alone "$WORK/v"
"$UMBRA" --quiet delete "$two"
"$UMBRA" --quiet revert "$one"
[ -z "$(half)" ] || fail "half reverted, it says, after the end"
expect_status 0 "$UMBRA" list storage
is_reverted "after full storage"

# What is killed while something is being put back; if that was too early or too late, once more.
bytes_written() { attached_status "$ATTACHED" bytes_written; }
# interrupt COMMAND: in the middle of a revert in the background, whose pid is $PID; fails if that was over
interrupt() {
  for ((try = 0; try < 30; try++)); do
    mount "/dev/umbra/$ATTACHED" "$WORK/v"
    fill
    unmount_alone "$WORK/v"
    before=$(bytes_written) server=$(attached_status "$ATTACHED" pid)
    background "$UMBRA" --quiet revert "$one"
    while kill -0 "$PID" 2>/dev/null && [ "$(bytes_written || echo "$before")" = "$before" ]; do :; done
    [ -z "$(half)" ] || { "$@" && return 0; }
    wait "$PID" || fail "a revert failed that nobody interrupted"
  done
  fail "no revert was interrupted in $try"
}
kill_server() {
  kill -KILL "$server" || fail "the server $server is not there"
  kill -0 "$PID" 2>/dev/null
}
interrupt kill_server
wait "$PID" || fail "the next server did not go on"
[ "$(attached_status "$ATTACHED" pid)" != "$server" ] || fail "the server was not killed"
[ -z "$(half)" ] || fail "half reverted, it says, after the next server's end"
is_reverted "after a killed server"

kill_umbra() { kill -KILL "$PID"; wait "$PID" || true; [ -n "$(half)" ]; }
interrupt kill_umbra
wait_for 60 "$UMBRA" --quiet revert "$one" || fail "it cannot be done again"
[ -z "$(half)" ] || fail "half reverted, it says, after it was done again"
is_reverted "after a killed umbra"

# The wrong one, stopped, and then the right one: nothing of the first goes on behind the second's back.
"$UMBRA" --quiet delete --all
"$UMBRA" detach "$ATTACHED"
rm "$WORK"/storage/*
"$UMBRA" attach "${OPTIONS[@]}" --limit 314572800 --chunk 4096 "$ORIGIN" "$ATTACHED" >/dev/null
mount "/dev/umbra/$ATTACHED" "$WORK/v"
one=$(create)
fill
right=$(sha256sum <"$WORK/v/file")
two=$(create)
unmount_alone "$WORK/v"
stop_umbra() { kill -TERM "$PID" 2>/dev/null || return 1; wait "$PID" || true; [ -n "$(half)" ]; }
interrupt stop_umbra
written=$(bytes_written)
sleep 0.3
[ "$(bytes_written)" = "$written" ] || fail "the server goes on with a revert that was stopped"
"$UMBRA" --quiet revert "$two"
[ -z "$(half)" ] || fail "half reverted, it says, after another revert"
then=$right is_reverted "after the right one"

# Gone with its shadow copy: that is said once, and is no reason to refuse anything.
interrupt kill_umbra
wait_for 60 "$UMBRA" --quiet delete "$one"
"$UMBRA" detach --force "$ATTACHED"
"$UMBRA" attach "${OPTIONS[@]}" "$ORIGIN" "$ATTACHED" >/dev/null 2>"$WORK/attach.err"
grep -q "was half reverted to shadow copy $one, which is gone" "$WORK/attach.err" || fail "attach does not say it: $(cat "$WORK/attach.err")"
[ -z "$(half)" ] || fail "half reverted to a shadow copy that is gone"
"$UMBRA" --quiet delete --all
"$UMBRA" detach "$ATTACHED"
no_attached_left
