#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test presses Ctrl-Z (SIGTSTP) while writers and volumes are frozen: the stop waits until they are not, and after SIGCONT the set
# is made as if nothing had been.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root
requires_program python3

HOLD_LIMIT_MS=30000 FREEZE_LIMIT_MS=60000
make_volume a ext4 32M
fault_setup
state_is() { grep -q "^State:[[:space:]]*$2" "/proc/$1/status"; }
for step in writer:freeze provider:precommit provider:commit; do
  fault_at "$step" TSTP
  # In a process group of its own, with its parent in the same session: else the kernel ignores the signal.
  python3 -c 'import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])' \
    "$UMBRA" --json create --provider fault "$WORK/a" >"$WORK/create" 2>"$WORK/create.err" &
  PID=$!
  cleanup_fn kill_and_wait "$PID"
  wait_for 30 state_is "$PID" T || fail "$step: it does not stop at all: $(cat "$WORK/create.err")"
  struck || fail "$step was never reached"
  # Stopped by now, and already nothing is frozen.
  accepts_write "$WORK/a" 2 || fail "$step: the volume is frozen while umbra is stopped"
  told_after_freeze || fail "$step: a writer is frozen while umbra is stopped"
  kill -CONT "$PID"
  status=0; wait "$PID" || status=$?
  [ "$status" = 0 ] || fail "$step: status $status: $(cat "$WORK/create.err")"
  "$UMBRA" delete "$(jq -r .set.id "$WORK/create")"
  nothing_left a
done
