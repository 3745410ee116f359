#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets from a requester's own loop: it answers its user while a writer takes its time, gives up when told to, and nothing is left; who is slow keeps
# nobody frozen, and one that ends in the midst of it leaves nothing.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/writers.sh"

make_volume v ext4 48M
mkdir "$WORK/v/data"
ASYNC=$BUILD/examples/requester-async
# A writer that goes on when it is let.
slow_at() {
  rm -f "$WORK/go" "$WORK/events"
  make_writer slow back-end "\"components\": [{\"name\": \"data\", \"files\": [{\"path\": \"$WORK/v/data\"}]}]" \
    "[ \"\$1\" != $1 ] || until [ -e '$WORK/go' ]; do sleep 0.02; done"
}
mkfifo "$WORK/in"
start() {
  : >"$WORK/out"
  "$ASYNC" "$WORK/v/data" <"$WORK/in" >"$WORK/out" 2>"$WORK/messages" &
  PID=$!
  cleanup_fn kill_and_wait "$PID"
  exec 7>"$WORK/in"
}
ended() { STATUS=0; wait "$PID" || STATUS=$?; exec 7>&-; }

# While it is being made it listens.
slow_at prepare-backup
start
wait_for 20 grep -q "slow prepare-backup" "$WORK/events" || fail "the writer was not told"
echo "are you there" >&7
wait_for 20 grep -q "still at it: are you there" "$WORK/out" || fail "it does not answer while the set is being made"
[ "$(find "/proc/$PID/task" -mindepth 1 -maxdepth 1 | wc -l)" -ge 1 ] && ! grep -q freeze "$WORK/events" || fail "it did not wait for the writer"
touch "$WORK/go"
ended
[ "$STATUS" = 0 ] || fail "status $STATUS: $(cat "$WORK/messages")"
[ "$(events_of slow)" = "identify prepare-backup prepare-snapshot freeze thaw post-snapshot shutdown" ] || fail "told: $(events_of slow)"
[ "$(sed '/^still/d' "$WORK/out" | jq -r .set.consistency)" = application ] || fail "$(cat "$WORK/out")"
no_sets_left

# It gives up, and the writer hears so.
slow_at prepare-snapshot
start
wait_for 20 grep -q "slow prepare-snapshot" "$WORK/events" || fail "the writer was not told"
echo cancel >&7
ended
[ "$STATUS" = 4 ] || fail "status $STATUS: $(cat "$WORK/messages")"
[ "$(events_of slow | grep -o 'abort$')" = abort ] || fail "told: $(events_of slow)"
no_sets_left
accepts_write "$WORK/v" 5 || fail "the volume is frozen"

# From freeze to thaw it does nothing else.
slow_at freeze
start
wait_for 20 grep -q "slow freeze" "$WORK/events" || fail "the writer was not told"
echo "are you there" >&7
touch "$WORK/go"
ended
[ "$STATUS" = 0 ] || fail "status $STATUS: $(cat "$WORK/messages")"
no_sets_left

# In right and in wrong order.
slow_at prepare-backup
"$BUILD/tests/library-steps" "$WORK/v/data" "$WORK/go" "$WORK/events" || fail "library-steps: status $?"
"$UMBRA" --quiet delete --all
no_sets_left
