#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test sends signals to the process that runs a program over a shadow copy: they reach the program, ignored ones stay
# ignored, stopping and going on work, and the status tells which signal ended it.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup python3

make_volume vol ext4 64M
freeze_image vol
plan "$(image_plan vol ext4)"

# Says on standard output what it gets; ends at USR1 by itself with status 9.
cat >"$WORK/listener.py" <<'END'
import os, signal, sys
ending = False
def got(number, frame):
    global ending
    # Not print(): the program may be in it.
    os.write(1, f"got {signal.Signals(number).name}\n".encode())
    ending = number == signal.SIGUSR1
caught = "HUP INT QUIT TERM USR1 USR2 ALRM WINCH CONT PWR".split()
for name in caught:
    if name not in sys.argv[1:]:
        signal.signal(getattr(signal, "SIG" + name), got)
print("ready", os.getpid(), flush=True)
while not ending:
    signal.pause()
sys.exit(9)
END
# A shell ignores SIGINT for what it starts in the background, which would be inherited.
cat >"$WORK/start.py" <<'END'
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
if sys.argv[1]:
    signal.signal(getattr(signal, "SIG" + sys.argv[1]), signal.SIG_IGN)
os.setpgid(0, 0)  # not setsid(2): a group nobody waits for in its session cannot be stopped with SIGTSTP
os.execv(sys.argv[2], sys.argv[2:])
END
# start IGNORED COMMAND...: runs the command without a terminal, in a process group of its own; PID and PROGRAM are set
start() {
  : >"$WORK/said"
  background python3 "$WORK/start.py" "$@" </dev/null >"$WORK/said" 2>&1
  wait_for 10 grep -q ready "$WORK/said" || fail "the program did not start: $(cat "$WORK/said")"
  PROGRAM=$(awk '/^ready/ { print $2 }' "$WORK/said")
}
said() { grep -q "^$1\$" "$WORK/said"; }
state_is() { grep -q "^State:[[:space:]]*$2" "/proc/$1/status"; }
# expect_end STATUS: of PID
expect_end() {
  local status=0
  wait "$PID" || status=$?
  [ "$status" = "$1" ] || fail "status $status instead of $1: $(cat "$WORK/said")"
}

start "" "$VIEW_RUN" "$WORK/plan" -- python3 "$WORK/listener.py"
for name in HUP INT QUIT TERM USR2 ALRM WINCH CONT PWR; do
  kill -$name "$PID"
  wait_for 10 said "got SIG$name" || fail "SIG$name did not reach the program"
done
# To the whole group, by a process: both get it, and both live on.
kill -TERM -- "-$PID"
kill -STOP "$PROGRAM"
wait_for 10 state_is "$PROGRAM" T || fail "the program does not stop"
wait_for 10 state_is "$PID" S || fail "SIGSTOP sent to the program stopped umbra too"
kill -CONT "$PROGRAM"
kill -TSTP "$PID"
wait_for 10 state_is "$PID" T || fail "SIGTSTP did not stop umbra"
wait_for 10 state_is "$PROGRAM" T || fail "SIGTSTP did not stop the program"
kill -CONT "$PID"
wait_for 10 state_is "$PROGRAM" S || fail "SIGCONT did not wake the program: $(cat "$WORK/said")"
wait_for 10 state_is "$PID" S || fail "SIGCONT did not wake umbra"
kill -USR1 "$PID"
expect_end 9

# What kills the program is its status, not umbra's death.
for name in INT TERM HUP KILL; do
  start "" "$VIEW_RUN" "$WORK/plan" -- python3 "$WORK/listener.py" INT TERM HUP
  if [ $name = KILL ]; then kill -KILL "$PROGRAM"; else kill -$name "$PID"; fi
  expect_end $((128 + $(kill -l $name)))
done

# nohup: a hangup ends neither.
start HUP "$VIEW_RUN" "$WORK/plan" -- python3 "$WORK/listener.py"
kill -HUP "$PID"
kill -USR2 "$PID"
wait_for 10 said "got SIGUSR2" || fail "the program does not live after an ignored hangup"
said "got SIGHUP" && fail "an ignored hangup reached the program"
kill -USR1 "$PID"
expect_end 9
expect_gone "$WORK/vol.shadow"
