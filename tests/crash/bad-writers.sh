#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test has a writer that hangs in freeze, one that is stopped there (SIGSTOP), one that lies about itself, one that prints 100 MB (on either stream) and one that
# leaves a child behind in another session: each is named and survived, and nothing stays frozen.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
fault_setup

# bad_writer STEP ACTION STATUS: a set with such a writer ends with the status, in time
bad_writer() {
  local status=0 started=$SECONDS
  fault_at "$1" "$2"
  start_set a
  wait "$PID" || status=$?
  struck || fail "$1 was never reached"
  [ "$status" = "$3" ] || fail "$2 at $1: status $status instead of $3: $(cat "$WORK/create.err")"
  # None of them is waited for until the limit of 60 s; the one that hangs has a limit of its own.
  [ $((SECONDS - started)) -lt 55 ] || fail "$2 at $1 took $((SECONDS - started)) s"
  writes_within 1 a
  [ "$status" = 0 ] || grep -q witness "$WORK/create.err" || fail "$2 at $1: the writer is not named: $(cat "$WORK/create.err")"
  [ "$(wc -c <"$WORK/create.err")" -lt 20000 ] || fail "$2 at $1: $(wc -c <"$WORK/create.err") bytes of messages"
  [ "$status" = 1 ] || "$UMBRA" delete "$(jq -r .set.id "$WORK/create")"
  told_after_freeze || fail "$2 at $1: frozen and forgotten: $(cat "$WORK/witness.log")"
  nothing_left a
}
# Everybody else was frozen as long: the set fails.
FREEZE_LIMIT_MS=1500
bad_writer writer:freeze hang 1
bad_writer writer:freeze SELF-STOP 1
FREEZE_LIMIT_MS=
bad_writer writer:identify lie 3
bad_writer writer:identify flood 3
bad_writer writer:prepare-snapshot flood 3
bad_writer writer:freeze flood-errors 3
# It has left its group, so that nobody but this test ends it; and nobody waits for it.
cleanup_fn eval 'kill -KILL "$(cat "$WORK/forked")"'
bad_writer writer:freeze fork 0
