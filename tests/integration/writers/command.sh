#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lists, tests, disables and enables writers with `umbra writers`.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume v ext4 48M
mkdir "$WORK/v/one" "$WORK/v/two" "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/writers"
cp "$BUILD/writers/scripted/scripted" "$UMBRA_CONFIG_DIR/writers.d/mine"
printf '#!/bin/sh\necho "{\\"name\\": \\"other\\"}"\n' >"$UMBRA_CONFIG_DIR/writers.d/other"
chmod 755 "$UMBRA_CONFIG_DIR/writers.d/other"
script() {
  jq -n --arg v "$WORK/v" --arg log "$WORK/log" --argjson events "$1" '{$log, $events, instances:
    [{instance: "one", components: [{name: "data", files: [{path: ($v + "/one")}]}]},
     {instance: "two", level: "back-end", components: [{name: "data", files: [{path: ($v + "/two")}]}]}]}' >"$UMBRA_CONFIG_DIR/writers/mine.json"
}
script '{"freeze@two": {"delay_ms": 120}}'
"$UMBRA" writers >"$WORK/list"
for words in "mine *one *front-end *session *stable" "mine *two *back-end *session *stable" "other .*front-end *exec *stable"; do
  grep -Eq "$words" "$WORK/list" || fail "no '$words' in: $(cat "$WORK/list")"
done

# A test: everything is told, how long each took is said, and nothing stays.
"$UMBRA" --json writers test mine >"$WORK/test" || fail "status $?"
[ "$(jq '[.writers[] | select(.name == "mine" and .state == "stable")] | length' "$WORK/test")" = 2 ] || fail "$(cat "$WORK/test")"
jq -e '.writers[] | select(.instance == "two").timings_ms.freeze >= 120' "$WORK/test" >/dev/null || fail "$(cat "$WORK/test")"
jq -e '.writers[] | select(.instance == "one").timings_ms | has("thaw") and has("post-snapshot")' "$WORK/test" >/dev/null || fail "$(cat "$WORK/test")"
[ "$(grep -c '^shutdown' "$WORK/log")" = 2 ] || fail "$(cat "$WORK/log")"
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set is left"
"$UMBRA" writers test mine | grep -Eq 'frozen for [0-9.]+ ms, of which the volumes were held' || fail "nothing said"
# The other one was not told: it would have failed, since it knows no events.
printf '#!/bin/sh\n[ "$1" = identify ] || exit 1\necho "{\\"name\\": \\"other\\"}"\n' >"$UMBRA_CONFIG_DIR/writers.d/other"
"$UMBRA" --quiet writers test mine >/dev/null || fail "status $?"
status=0; "$UMBRA" --quiet writers test other >"$WORK/test" 2>"$WORK/messages" || status=$?
[ "$status" = 3 ] && grep -q failed-at-prepare-backup "$WORK/test" || fail "status $status: $(cat "$WORK/test" "$WORK/messages")"
script '{"thaw@one": {"fail": "cannot go on"}}'
status=0; "$UMBRA" writers test mine >"$WORK/test" 2>"$WORK/messages" || status=$?
[ "$status" = 3 ] && grep -q "cannot go on" "$WORK/test" && grep -q "mine one.*cannot go on" "$WORK/messages" || fail "status $status: $(cat "$WORK/test" "$WORK/messages")"

# Disabled: not asked and not told; and back.
"$UMBRA" writers disable mine
"$UMBRA" writers >"$WORK/list"
! grep -q mine "$WORK/list" || fail "disabled: $(cat "$WORK/list")"
"$UMBRA" writers disable mine || fail "twice"
"$UMBRA" writers enable mine
"$UMBRA" writers | grep -q mine || fail "enabled again"
ln -s /dev/null "$UMBRA_CONFIG_DIR/writers.d/masked"
"$UMBRA" writers enable masked
[ ! -e "$UMBRA_CONFIG_DIR/writers.d/masked" ] || fail "a link to /dev/null is left"

# Mistakes.
refused() { local status=0; "$UMBRA" writers "${@:3}" 2>"$WORK/messages" || status=$?; [ "$status" = "$1" ] && grep -q "$2" "$WORK/messages" || fail "${*:3}: status $status: $(cat "$WORK/messages")"; }
refused 1 "no writer 'nobody'" test nobody
refused 1 "no writer's program 'nobody'" disable nobody
refused 1 "no name of a writer's program" disable ../etc
refused 2 "which writer" test
refused 2 "list, or test, enable or disable" frobnicate mine
