#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets an exec provider fail, lie, babble, hang or leave children behind at each verb: the failure is named, remove is
# called, nothing stays frozen or running.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume volume ext4 32M
SCRIPT=$UMBRA_CONFIG_DIR/script
mkdir "$UMBRA_CONFIG_DIR/providers.d" "$SCRIPT" "$SCRIPT/tree" "$WORK/storage"
cp "$TOP/tests/lib/scripted-provider" "$UMBRA_CONFIG_DIR/providers.d/scripted"

# drive: runs the provider; STATUS and $WORK/messages are what came of it
drive() {
  : >"$SCRIPT/log"
  STATUS=0
  timeout 60 "$BUILD/tests/provider-drive" scripted "$WORK/volume" "$WORK/storage" >"$WORK/record" 2>"$WORK/messages" || STATUS=$?
  timeout 5 touch "$WORK/volume/written" || fail "the volume is still frozen"
  # Nothing of the provider still runs.
  for _ in $(seq 50); do pgrep -f "$UMBRA_CONFIG_DIR/providers.d" >/dev/null || return 0; sleep 0.1; done
  fail "still running: $(pgrep -af "$UMBRA_CONFIG_DIR/providers.d")"
}
# expect_failure WORDS: drive failed and said these words
expect_failure() {
  [ "$STATUS" = 1 ] || fail "exit status $STATUS instead of 1: $(cat "$WORK/messages")"
  grep -qF -- "$1" "$WORK/messages" || fail "'$1' is not in: $(cat "$WORK/messages")"
}
script() { rm -f "$SCRIPT"/{can,prepare,precommit,commit,postcommit,remove}; [ $# = 0 ] || echo "$2" >"$SCRIPT/$1"; }

script
drive
[ "$STATUS" = 0 ] || fail "$(cat "$WORK/messages")"
[ "$(tr '\n' ' ' <"$SCRIPT/log")" = "can prepare precommit commit commit told 'held' postcommit remove " ] || fail "$(cat "$SCRIPT/log")"

for verb in can prepare precommit commit postcommit remove; do
  script "$verb" 'echo "the $verb of disk array 7 is broken" >&2; exit 3'
  drive
  expect_failure "$verb of disk array 7 is broken"
  expect_failure scripted
  # Whatever was begun is removed; a provider that only said no is not asked to.
  [ "$verb" = can ] || [ "$(tail -n 1 "$SCRIPT/log")" = remove ] || fail "not removed after $verb: $(cat "$SCRIPT/log")"
done

script can 'echo "{\"can\": false, \"why\": \"the array is asleep\"}"; exit 0'
drive
expect_failure "the array is asleep"

script prepare 'head -c 100000000 /dev/zero'
drive
expect_failure "printed more than 1 MiB"
script prepare 'head -c 10000000 /dev/zero >&2'
drive
[ "$STATUS" = 0 ] || fail "noise on standard error is no failure: $(cat "$WORK/messages")"
script prepare 'echo "no JSON"; exit 0'
drive
expect_failure "scripted"
script prepare 'echo "[1]"; exit 0'
drive
expect_failure "no JSON object"
script postcommit 'echo "{\"view\": {\"kind\": \"tree\", \"path\": \"relative\"}}"; exit 0'
drive
expect_failure 'absolute "path"'
script postcommit 'echo "{}"; exit 0'
drive
expect_failure '"view"'
script prepare 'kill -KILL $$'
drive
expect_failure "killed by signal 9"

# A child that holds the pipes open does not hold us up, and does not outlive the verb.
script prepare 'sleep 300 & echo $! >"$SCRIPT/child"'
drive
[ "$STATUS" = 0 ] || fail "$(cat "$WORK/messages")"
for _ in $(seq 50); do kill -0 "$(cat "$SCRIPT/child")" 2>/dev/null || break; sleep 0.1; done
kill -0 "$(cat "$SCRIPT/child")" 2>/dev/null && fail "the child of prepare still runs"

# One that dies before the word, and one that never answers (10 s).
script
echo 'echo "no connection" >&2; exit 4' >"$SCRIPT/early"
drive
expect_failure "commit: exit status 4: no connection"
rm "$SCRIPT/early"
script commit 'sleep 300'
drive
expect_failure "missed its deadline"
[ "$(tail -n 1 "$SCRIPT/log")" = remove ] || fail "not removed: $(cat "$SCRIPT/log")"

# Too much had changed, twice.
script commit 'n=$(grep -c told "$SCRIPT/log"); [ "$n" -ge 3 ] || exit 75'
drive
[ "$STATUS" = 0 ] || fail "$(cat "$WORK/messages")"
[ "$(grep -c "told 'held'" "$SCRIPT/log")" = 3 ] || fail "$(cat "$SCRIPT/log")"

# Its record comes back to it, and the volume is described.
script prepare 'echo "{\"record\": {\"lun\": 7}}"; exit 0'
echo 'echo "$document" >"$SCRIPT/told"' >"$SCRIPT/remove"
drive
[ "$(jq -r .record.lun "$SCRIPT/told")" = 7 ] || fail "$(cat "$SCRIPT/told")"
[ "$(jq -r .volume.mount_point "$SCRIPT/told")" = "$WORK/volume" ] || fail "$(cat "$SCRIPT/told")"
