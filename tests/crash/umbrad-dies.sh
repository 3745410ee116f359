#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills umbrad's process on the bus, its host, and the job that makes a set, at every state of the set's life: volumes accept writes within a second, frozen
# writers hear thaw or abort, umbrad comes back and lists what there is, whole sets stay, and a program under `umbra run` notices nothing.
# timeout: 300
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
. "$TOP/tests/lib/fault.sh"
requires_root

make_volume a ext4 32M
make_volume kept ext4 32M
echo before >"$WORK/kept/file"
fault_setup
start_bus
start_umbrad

kept=$(create_set 3 wait b true provider s files persistent b true "$WORK/kept")
mkfifo "$WORK/ask"
: >"$WORK/answers"
"$UMBRA" run --provider files --of "$WORK/kept" -- sh -c 'while read -r line && [ "$line" != end ]; do cat "$1/file"; done' - "$WORK/kept" <"$WORK/ask" >"$WORK/answers" 2>"$WORK/run.err" &
RUN_PID=$!
cleanup_fn kill_and_wait "$RUN_PID"
exec 8>"$WORK/ask"
# The program reads its files as they were, now as before.
run_answers() {
  local before; before=$(wc -l <"$WORK/answers")
  echo >&8
  wait_for 20 more_answers "$before" || fail "the program under umbra run does not answer: $(cat "$WORK/run.err")"
  [ "$(tail -n 1 "$WORK/answers")" = before ] || fail "the program under umbra run reads: $(tail -n 1 "$WORK/answers")"
}
more_answers() { [ "$(wc -l <"$WORK/answers")" -gt "$1" ]; }
run_answers
echo after >"$WORK/kept/file"
run_answers
others() { "$UMBRA" --json list sets | jq -r --arg kept "$kept_id" '.sets[] | select(.id != $kept and .state != "in-use") | .id'; }
kept_id=$(property "$kept" Set Id)
gone() { ! kill -0 "$1" 2>/dev/null; }

for victim in bus host job; do
  for step in "${FAULT_STEPS[@]}"; do
    fault_at "$step" "$([ "$victim" = job ] && echo KILL || echo GUARDIAN-KILL)"
    # The file says whom it kills.
    [ "$victim" = bus ] && echo "$UMBRAD_PID" >"$WORK/guardian-pid" || echo "$HOST_PID" >"$WORK/guardian-pid"
    set=$(create_set 1 provider s fault "$WORK/a" 2>"$WORK/create.err") || set=
    wait_for 30 struck || fail "$victim: $step was never reached: $(cat "$WORK/create.err" "$WORK/umbrad.log")"
    writes_within 1 a
    wait_for 10 told_after_freeze || fail "$victim killed at $step: a frozen writer heard nothing: $(cat "$WORK/witness.log")"
    if [ "$victim" = job ]; then
      [ -n "$set" ] || fail "$step: $(cat "$WORK/create.err")"
      refused CoordinatorDied on_set "$set" Wait
      on_set "$set" Delete >/dev/null
    else
      status=0; wait "$UMBRAD_PID" || status=$?
      [ "$status" != 0 ] || fail "$victim killed at $step, yet umbrad ended with status 0"
      wait_for 30 no_umbrad_left || fail "$victim killed at $step: a process is left: $(umbrad_left)"
      no_fault
      start_umbrad
      # It was cancelled, or it was whole already: nothing in between.
      for id in $(others); do
        wait_for 10 property "$(set_of_id "$id")" Set State || fail "a whole set is not listed"
        manage DeleteSet o "$(set_of_id "$id")" >/dev/null || fail "$victim killed at $step: the set cannot be deleted"
      done
    fi
    no_fault
    [ -z "$(others)" ] || fail "$victim killed at $step: a set is left"
    [ -z "$(ls "$WORK/made")" ] || fail "$victim killed at $step: provider remove was not called"
    [ "$(property "$kept" Set State)" = ready ] || fail "$victim killed at $step: the persistent set is gone"
    again=$(create_set 2 wait b true provider s fault "$WORK/a") || fail "$victim killed at $step: the next set does not work"
    manage DeleteSet o "$again" >/dev/null
    echo "$victim, $step: survived"
  done
  run_answers
done

# A set that is held, when the host is killed: its job lets go of it in order.
mkfifo "$WORK/say"
"$CLIENT" hold fault "$WORK/a" <"$WORK/say" >"$WORK/heard" 2>&1 &
cleanup_fn kill_and_wait "$!"
exec 7>"$WORK/say"
wait_for 30 test -s "$WORK/heard" || fail "no set"
: >"$WORK/witness.log"
kill -KILL "$HOST_PID"
wait "$UMBRAD_PID" && fail "umbrad goes on without its host"
wait_for 30 no_umbrad_left || fail "a process is left"
[ -z "$(ls "$WORK/made")" ] || fail "a held set's shadow copies are left"
grep -q '^writer shutdown' "$WORK/witness.log" || fail "its writers heard no shutdown"
start_umbrad
[ -z "$(others)" ] || fail "a set is left"
run_answers
echo end >&8
wait "$RUN_PID" || fail "the program under umbra run ended with $?"
manage DeleteSet o "$kept" >/dev/null || fail "the persistent set cannot be deleted"
