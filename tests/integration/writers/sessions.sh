#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets with writers that keep one process for the whole set and speak for several instances: each hears every
# event once, in one process; whatever one of them does wrong, the set's result is right and nothing is left frozen or running.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume v ext4 48M
mkdir "$WORK/v/one" "$WORK/v/two" "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/writers"
ln -s "$BUILD/writers/scripted/scripted" "$UMBRA_CONFIG_DIR/writers.d/scripted"
LOG=$WORK/log
# script EVENTS-JSON [INSTANCES-JSON]
script() {
  local both='[{"instance": "one", "level": "back-end", "key": "word one", "components": [{"name": "data", "files": [{"path": "'$WORK'/v/one"}]}]},
    {"instance": "two", "components": [{"name": "data", "files": [{"path": "'$WORK'/v/two"}]}]}]'
  jq -n --arg log "$LOG" --argjson events "$1" --argjson instances "${2:-$both}" '{$log, $events, $instances}' >"$UMBRA_CONFIG_DIR/writers/scripted.json"
}
create() {
  rm -f "$LOG"
  STATUS=0
  "$UMBRA" --json create --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || STATUS=$?
  timeout 5 touch "$WORK/v/written" || fail "the volume is still frozen"
  "$UMBRA" --quiet delete --all >/dev/null
  no_process "scripted session"
}
no_process() { ! pgrep -f -- "^$UMBRA_CONFIG_DIR/writers.d/$1" >/dev/null || fail "a process is left: $1"; }
state_of() { jq -r --arg i "$1" '.set.writers[] | select(.instance == $i) | .state' "$WORK/set"; }

# Each instance hears everything once and in order, in one process of its own, with its key; front end before back end.
script '{"thaw": {"answer": "went on"}}'
create
[ "$STATUS" = 0 ] || fail "status $STATUS: $(cat "$WORK/messages")"
[ "$(jq -r .set.consistency "$WORK/set")" = application ] || fail "$(cat "$WORK/set")"
for i in one two; do
  [ "$(grep -F " $i " "$LOG" | cut -d' ' -f1 | tr '\n' ' ')" = "prepare-backup prepare-snapshot freeze thaw post-snapshot shutdown " ] || fail "$i heard: $(cat "$LOG")"
  [ "$(grep -F " $i " "$LOG" | awk '{ print $NF }' | sort -u | wc -l)" = 1 ] || fail "$i: more than one process: $(cat "$LOG")"
done
grep -q "^freeze one word one " "$LOG" || fail "the key did not come back: $(cat "$LOG")"
[ "$(grep '^freeze' "$LOG" | cut -d' ' -f2 | tr '\n' ' ')" = "two one " ] || fail "front end freezes first: $(cat "$LOG")"
[ "$("$UMBRA" --json list writers | jq -r '[.writers[] | .kind + " " + .name + " " + .instance] | join(", ")')" = "session scripted one, session scripted two" ] ||
  fail "$("$UMBRA" --json list writers)"

# One of them alone; and one that is not there.
STATUS=0; rm -f "$LOG"
"$UMBRA" --json create --writer scripted/two --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || STATUS=$?
"$UMBRA" --quiet delete --all >/dev/null
[ "$STATUS" = 0 ] && ! grep -q " one " "$LOG" && grep -q "^freeze two" "$LOG" || fail "--writer scripted/two: $STATUS $(cat "$LOG" "$WORK/messages")"
[ "$(jq -c '[.set.writers[].instance]' "$WORK/set")" = '["two"]' ] || fail "$(cat "$WORK/set")"
expect_status 1 "$UMBRA" create --writer scripted/three --provider clone "$WORK/v"
expect_output "no writer 'scripted/three'"

# None at the moment: nobody takes part, and that is no failure.
script '{}' '[]'
create
[ "$STATUS" = 0 ] && [ ! -e "$LOG" ] && [ "$(jq '.set.writers | length' "$WORK/set")" = 0 ] || fail "no instance: $STATUS $(cat "$WORK/messages")"

# One that cannot take part is named; the other goes on.
script '{}' '[{"instance": "one", "failure": "its server does not answer"}, {"instance": "two"}]'
create
[ "$STATUS" = 3 ] || fail "status $STATUS"
grep -q "its server does not answer" "$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(state_of two)" = stable ] || fail "$(cat "$WORK/set")"

# ... unless all its files are elsewhere: then it is nobody's business here.
script '{}' '[{"instance": "one", "failure": "its server does not answer", "components": [{"name": "data", "files": [{"path": "'"$WORK"'/elsewhere"}]}]}, {"instance": "two"}]'
create
[ "$STATUS" = 0 ] && [ ! -s "$WORK/messages" ] || fail "status $STATUS: $(cat "$WORK/messages")"

# What one does wrong at freeze: it is out and named, has heard abort if it still could, and the other went through all of it.
wrong() { # WHAT WORDS
  script "{\"freeze@one\": $1}"
  create
  [ "$STATUS" = 3 ] || fail "$1: status $STATUS: $(cat "$WORK/messages")"
  grep -q "scripted.*failed-at-freeze.*$2" "$WORK/messages" || fail "$1: $(cat "$WORK/messages")"
  [ "$(state_of one)" = failed-at-freeze ] && [ "$(state_of two)" = stable ] || fail "$1: $(cat "$WORK/set")"
  grep -q '^shutdown two' "$LOG" || fail "$1: $(cat "$LOG")"
}
wrong '{"fail": "will not stand still"}' "will not stand still"
grep -q '^abort one' "$LOG" || fail "a failed one was not told abort: $(cat "$LOG")"
wrong '{"retry": "busy now"}' "worth a retry.*busy now"
wrong '{"exit": 0}' "ended with exit status 0"
wrong '{"signal": 9}' "killed by signal 9"
wrong '{"raw": "not JSON\n"}' "no JSON object"
wrong '{"raw": "{\"event\": \"thaw\", \"result\": \"done\"}\n"}' "another event"
wrong '{"raw": "{\"event\": \"freeze\", \"result\": \"perhaps\"}\n"}' "none of done, failed, retry"
script '{"freeze": {"flood_lines": 20000}}'
create
[ "$STATUS" = 0 ] || fail "a flood of messages: status $STATUS: $(cat "$WORK/messages")"
# An answer that nobody asked for, between two events.
script '{"prepare-snapshot@one": {"raw": "{\"event\": \"prepare-snapshot\", \"result\": \"done\"}\n", "and_answer": true}}'
create
[ "$STATUS" = 3 ] || fail "answered twice: status $STATUS: $(cat "$WORK/messages")"

# After the instant: the shadow copies stay, and the status says what is missing.
script '{"thaw@one": {"fail": "cannot go on"}}'
create
[ "$STATUS" = 3 ] && grep -q "failed-at-thaw.*cannot go on" "$WORK/messages" || fail "$STATUS: $(cat "$WORK/messages")"

# One that hangs is killed at its deadline, and named.
printf 'freeze_limit_ms = 1500\n' >"$UMBRA_CONFIG_DIR/umbra.conf"
script '{"prepare-snapshot": {}, "freeze@one": {"hang": true}}'
create
[ "$STATUS" = 1 ] && grep -qE "freeze (took longer than 1500 ms|had not ended when the limit)" "$WORK/messages" || fail "$STATUS: $(cat "$WORK/messages")"
grep -q '^abort two' "$LOG" || fail "the other was not told abort: $(cat "$LOG")"
rm "$UMBRA_CONFIG_DIR/umbra.conf"

# One that dies when nobody looks, and is told its next event after that: no signal of it reaches umbra.
script '{"freeze@one": {"killed_after_ms": 1}, "prepare-snapshot@two": {"delay_ms": 100}}'
rm -f "$LOG"
STATUS=0
env --default-signal=PIPE "$UMBRA" --json create --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || STATUS=$?
"$UMBRA" --quiet delete --all
[ "$STATUS" = 3 ] && grep -q "scripted one.*failed-at-thaw" "$WORK/messages" || fail "died between freeze and thaw: status $STATUS: $(cat "$WORK/messages")"

# Words that are cut in the middle of a character are words all the same.
script "{\"freeze@one\": {\"fail\": \"a$(printf 'é%.0s' {1..300})\"}}"
create
[ "$STATUS" = 3 ] && [ "$(state_of one)" = failed-at-freeze ] && grep -q '^abort one' "$LOG" || fail "status $STATUS: $(cat "$WORK/set" "$LOG")"

# More words than a set can keep: the writers that say too much are out, and all can be read again.
script '{"prepare-backup": {"answer_bytes": 900000}}' "$(jq -n '[range(24) | {instance: "i\(.)"}]')"
create
[ "$STATUS" = 3 ] && grep -q "writers said more than 16 MiB" "$WORK/messages" || fail "status $STATUS: $(head -c 2000 "$WORK/messages")"
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set is left"

# Children that are not waited for are waited for all the same.
script '{}'
rm -f "$LOG"
timeout 60 env --ignore-signal=CHLD "$UMBRA" --quiet create --provider clone "$WORK/v" || fail "SIGCHLD ignored: status $?"
"$UMBRA" --quiet delete --all

# umbra dies while they are frozen: the end of their input is their abort, and their processes end; also the one that hangs.
script '{"freeze@one": {"hang": true}}'
rm -f "$LOG"
"$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>&1 &
umbra=$!
wait_for 10 grep -q "^freeze one" "$LOG" || fail "not heard: ^freeze one"
kill -KILL "$umbra"
wait "$umbra" 2>/dev/null || true
wait_for 10 grep -q "^abort two" "$LOG" || fail "not heard: ^abort two"
timeout 5 touch "$WORK/v/written" || fail "the volume is still frozen"
wait_for 60 bash -c '! pgrep -f -- "^$0/writers.d/scripted session"' "$UMBRA_CONFIG_DIR" || fail "a session outlives umbra"

# umbra is stopped while they are frozen: they go on by themselves, and the set fails when it is woken.
printf 'freeze_limit_ms = 1500\n' >"$UMBRA_CONFIG_DIR/umbra.conf"
stopped() { # EVENTS
  script "$1"
  rm -f "$LOG"
  "$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>"$WORK/messages" &
  umbra=$!
  wait_for 10 grep -q "^freeze one" "$LOG" || fail "not heard: ^freeze one"
  kill -STOP "$umbra"
  wait_for 10 grep -q "^abort two" "$LOG" || fail "not heard: ^abort two"
}
woken() {
  kill -CONT "$umbra"
  STATUS=0; wait "$umbra" || STATUS=$?
  [ "$STATUS" = 1 ] || fail "stopped beyond the limit: status $STATUS: $(cat "$WORK/messages")"
}
ended() { [ "$(awk '{ print $3 }' "/proc/$(awk -v i="$1" '$1 == "freeze" && $2 == i { print $NF }' "$LOG")/stat")" = Z ]; }
stopped '{"freeze@one": {"delay_ms": 700}}'
wait_for 10 grep -q "^abort one" "$LOG" || fail "not heard: ^abort one"
woken
# Neither one that hangs in freeze nor one that cannot undo it stays: its end undoes what it holds.
stopped '{"freeze@one": {"hang": true}}'
wait_for 10 ended one || fail "it hangs on"
woken
stopped '{"freeze@one": {"delay_ms": 700}, "abort@one": {"fail": "cannot"}}'
wait_for 10 ended one || fail "it could not undo its freeze, and is still there"
woken

# Who has gone on by itself has nothing to thaw, nor a second time to abort: it is told neither, and its set fails.
script '{"freeze@one": {"delay_ms": 700}}'
late() { # what session one hears after its freeze, the thaw coming after its limit
  local to=$WORK/late.in from=$WORK/late.out
  rm -f "$LOG"
  mkfifo "$to"
  UMBRA_INSTANCE=one "$UMBRA_CONFIG_DIR/writers.d/scripted" session <"$to" >"$from" 2>/dev/null &
  local session=$!
  exec 9>"$to"
  printf '{"event": "prepare-backup", "document": {}}\n{"event": "freeze", "limit_ms": 1, "document": {}}\n' >&9
  wait_for 10 grep -q "^abort one" "$LOG" || fail "not heard: ^abort one"
  printf '{"event": "thaw", "limit_ms": 5000, "document": {}}\n{"event": "abort", "limit_ms": 5000, "document": {}}\n' >&9
  exec 9>&-
  wait "$session" || fail "the session ends with status $?"
}
late
[ "$(cut -d' ' -f1 "$LOG" | tr '\n' ' ')" = "prepare-backup freeze abort " ] || fail "it was told: $(cat "$LOG")"
[ "$(jq -r .result "$WORK/late.out" | tr '\n' ' ')" = "done done failed done " ] || fail "it answered: $(cat "$WORK/late.out")"
jq -s '.[2].message' "$WORK/late.out" | grep -q "longer than its limit" || fail "it answered: $(cat "$WORK/late.out")"

# A key that the environment has no room for comes with the session's line; who has no session has no way to get it.
rm -f "$LOG"
script '{}'
jq '.instances |= [.[0] | .key = "k" * 300000 + " end"]' "$UMBRA_CONFIG_DIR/writers/scripted.json" >"$WORK/scripted.json"
mv "$WORK/scripted.json" "$UMBRA_CONFIG_DIR/writers/scripted.json"
expect_status 0 "$UMBRA" --quiet create --provider null --require application "$WORK/v"
[ "$(grep '^freeze' "$LOG" | wc -c)" -gt 300000 ] && grep -q '^freeze one k*k end ' "$LOG" || fail "the long key did not come back: $(cut -c1-100 "$LOG")"
cat >"$UMBRA_CONFIG_DIR/writers.d/long" <<'SCRIPT'
#!/bin/sh
[ "$1" != identify ] || printf '{"name": "long", "key": "%s"}' "$(head -c 65537 /dev/zero | tr '\0' k)"
SCRIPT
chmod 755 "$UMBRA_CONFIG_DIR/writers.d/long"
expect_status 3 "$UMBRA" --quiet create --provider null "$WORK/v"
expect_output "'key' is longer than 64 KiB, which only a session can be told"
sed -i 's/65537/65536/' "$UMBRA_CONFIG_DIR/writers.d/long"
expect_status 0 "$UMBRA" --quiet create --provider null "$WORK/v"
rm "$UMBRA_CONFIG_DIR/writers.d/long"
"$UMBRA" --quiet delete --all >/dev/null
script '{}'

# A restore brings the key that the backup was made with, whatever identify says now.
script '{}'
"$UMBRA" --quiet backup --provider clone --to "$WORK/backups" "$WORK/v" || fail "backup: status $?"
script '{}' "$(jq '[.instances[] | .key = "word of today"]' "$UMBRA_CONFIG_DIR/writers/scripted.json")"
rm -f "$LOG"
"$UMBRA" --quiet restore --to "$WORK/back" "$WORK/backups" || fail "restore: status $?"
[ "$(grep -c "^\(pre\|post\)-restore one word one " "$LOG")" = 2 ] || fail "restored with: $(cat "$LOG")"
