#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test keeps sets for the connection that made them: opened, completed, deleted by it, and gone with it, also while they are made; another's set
# that is not auto-release is made to its end.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
echo before >"$WORK/a/file"
fault_setup
start_bus
start_umbrad

# hold_set PROVIDER: a client that keeps a set of a; SET, CLIENT_PID, and descriptor 8 to tell it more
hold_set() {
  rm -f "$WORK/say" "$WORK/heard"
  mkfifo "$WORK/say"
  "$CLIENT" hold "$1" "$WORK/a" <"$WORK/say" >"$WORK/heard" 2>"$WORK/client.err" &
  CLIENT_PID=$!
  cleanup_fn kill_and_wait "$CLIENT_PID"
  exec 8>"$WORK/say"
  wait_for 30 test -s "$WORK/heard" || fail "no set: $(cat "$WORK/client.err")"
  SET=$(head -n 1 "$WORK/heard")
}
# heard LINE: the client's last line
heard() { [ "$(tail -n 1 "$WORK/heard")" = "$1" ]; }
told() { grep -q "^writer $1" "$WORK/witness.log"; }
none_there() { [ -z "$(sets_on_bus)" ]; }

: >"$WORK/witness.log"
hold_set files
echo after >"$WORK/a/file"
[ "$(property "$SET" Set State) $(property "$SET" Set AutoRelease)" = "ready true" ] || fail "properties"
[[ $(property "$SET" Set Owner) == :1.* ]] || fail "no owner"
"$UMBRA" --json list sets | jq -e '.sets[0].state == "in-use"' >/dev/null || fail "umbra does not list it"
shadow=$(property "$SET" Set Shadows | jq -r '.[0]')
echo "open $shadow file" >&8
wait_for 10 grep -qx before "$WORK/heard" || fail "opened: $(cat "$WORK/heard" "$WORK/client.err")"
echo complete >&8
wait_for 10 told backup-complete || fail "backup-complete was not told: $(cat "$WORK/heard")"
exec 8>&-
wait "$CLIENT_PID"
wait_for 10 none_there || fail "it outlives its owner"
wait_for 10 told shutdown || fail "shutdown was not told"
[ -z "$(ls "$UMBRA_RUNTIME_DIR/sets")" ] || fail "the journal has it still"
[ "$(find "$UMBRA_STATE_DIR/storage" -name '*.partial' -o -type d -name '????????-*' | wc -l)" = 0 ] || fail "storage is left"

# Deleted by its owner, and by root.
hold_set fault
echo delete >&8
wait_for 10 none_there || fail "Delete by the owner"
exec 8>&-
wait "$CLIENT_PID" || true
hold_set fault
manage DeleteSet o "$SET" >/dev/null
wait_for 10 none_there || fail "DeleteSet by root"
[ -z "$(ls "$WORK/made")" ] || fail "the provider has something left"
exec 8>&-
wait "$CLIENT_PID" || true

# Its owner is killed: when it is held, and at each step of its making.
hold_set fault
kill -KILL "$CLIENT_PID"
wait "$CLIENT_PID" || true
wait_for 10 none_there || fail "it outlives its owner, who was killed"
exec 8>&-
# Those that a set can be cancelled in; with the others it waits for their end, or their deadline.
for step in writer:prepare-backup provider:prepare writer:prepare-snapshot writer:freeze; do
  fault_at "$step" SELF-STOP
  "$CLIENT" hold fault "$WORK/a" </dev/null >/dev/null 2>&1 &
  pid=$!
  wait_for 30 struck || fail "$step was never reached"
  kill -KILL "$pid"
  wait "$pid" || true
  no_fault
  wait_for 60 none_there || fail "killed at $step: a set is left: $(sets_on_bus)"
  writes_within 1 a
  [ -z "$(ls "$WORK/made")" ] || fail "killed at $step: the provider has something left"
done

# What stays is made though nobody hears of it.
fault_at writer:prepare-snapshot SELF-STOP
"$CLIENT" leave 1 null "$WORK/a" || true
no_fault
create_set 1 provider s null "$WORK/a" >/dev/null
one_ready() { [ "$("$UMBRA" --json list sets | jq '.sets | length')" = 1 ]; }
wait_for 20 one_ready || fail "the set that stays was not made"
"$UMBRA" --quiet delete --all
wait_for 10 none_there || fail "sets are left"
nothing_left a
