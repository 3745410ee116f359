#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lists, tests, limits, disables and enables writers with `umbra writers`, which knows how each failed last.
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

# How it failed last is kept, also when all is well again.
last() { "$UMBRA" --json writers | jq -r --arg i "$1" '.writers[] | select(.name == "mine" and .instance == $i) | .last_failure | '"$2"; }
script '{}'
"$UMBRA" --quiet writers test mine >/dev/null || fail "status $?"
[ "$(last one '.state + " " + .reason + " " + (.when | test("^20.*Z$") | tostring) + " " + (.set | length | tostring)')" = "failed-at-thaw writer true 36" ] || fail "$(last one .)"
last one .failure | grep -q "cannot go on" || fail "$(last one .)"
[ "$(last two .)" = null ] || fail "two has never failed: $(last two .)"
"$UMBRA" writers | grep -q "mine *one .*stable.*cannot go on" || fail "the list lacks it: $("$UMBRA" writers)"
script '{"post-snapshot@one": {"fail": "another thing"}}'
"$UMBRA" --quiet writers test mine >/dev/null 2>&1 || [ $? = 3 ] || fail "status $?"
last one .failure | grep -q "another thing" || fail "the newer failure: $(last one .)"

# A limit of one writer's event, below and above the machine's.
limited() { "$UMBRA" --json writers timeouts mine "$@" | jq -r '[.limits[] | select(.set == "here") | "\(.event)=\(.limit_ms)"] | join(" ")'; }
[ "$(limited)" = "" ] || fail "limits: $(limited)"
[ "$(limited freeze=200 pre-restore=300)" = "freeze=200 pre-restore=300" ] || fail "limits: $(limited)"
"$UMBRA" writers timeouts mine >"$WORK/limits"
grep -Eq '^freeze +200 +here' "$WORK/limits" && grep -Eq '^thaw +60000 +machine' "$WORK/limits" || fail "$(cat "$WORK/limits")"
[ "$("$UMBRA" --json writers | jq -c '[.writers[] | select(.name == "mine") | .limits_ms]')" = '[{"freeze":200,"pre-restore":300},{"freeze":200,"pre-restore":300}]' ] || fail "limits in the list"
script '{"freeze@one": {"delay_ms": 30000}}'
expect_status 1 "$UMBRA" --quiet create --provider null "$WORK/v"
expect_output "mine one.*freeze took longer than 200 ms"
script '{"freeze@one": {"delay_ms": 900}}'
echo 'freeze_limit_ms = 500' >"$UMBRA_CONFIG_DIR/umbra.conf"
[ "$(limited freeze=20000)" = "freeze=20000 pre-restore=300" ] || fail "limits: $(limited)"
printf '#!/bin/sh\n[ "$1" != identify ] || echo "{\\"name\\": \\"other\\", \\"components\\": [{\\"name\\": \\"none\\"}]}"\n' >"$UMBRA_CONFIG_DIR/writers.d/other"
expect_status 0 "$UMBRA" --quiet create --provider null "$WORK/v"
rm "$UMBRA_CONFIG_DIR/umbra.conf"
script '{"pre-restore@one": {"delay_ms": 30000}}'
"$UMBRA" --quiet backup --provider clone --to "$WORK/backup" "$WORK/v" || fail "backup: status $?"
expect_status 1 "$UMBRA" --quiet restore --to "$WORK/back" "$WORK/backup"
expect_output "mine one.*pre-restore took longer than 300 ms"
[ "$(last one '.state + " " + (.set | tostring)')" = "failed-at-pre-restore null" ] || fail "$(last one .)"
script '{}'
[ "$(limited freeze=default pre-restore=default)" = "" ] && [ ! -e "$UMBRA_CONFIG_DIR/timeouts.d/mine" ] || fail "limits are left: $(limited)"
# Only of the last 256 that failed.
jq -n '{events: {}, instances: [range(300) | {instance: "i\(.)", failure: "cannot"}]}' >"$UMBRA_CONFIG_DIR/writers/mine.json"
expect_status 3 "$UMBRA" --quiet create --provider null "$WORK/v"
[ "$(jq '.failures | length' "$UMBRA_STATE_DIR/writer-failures.json")" = 256 ] || fail "$(jq '.failures | length' "$UMBRA_STATE_DIR/writer-failures.json") failures are kept"
[ "$(last i299 .failure)" = cannot ] && [ "$(last i0 .)" = null ] || fail "which are kept"
"$UMBRA" --quiet delete --all >/dev/null
script '{}'
# What runs it.
printf '#!/bin/sh\n[ "$1" != identify ] || echo "{\\"name\\": \\"other\\", \\"pid\\": 4711, \\"unit\\": \\"other.service\\"}"\n' >"$UMBRA_CONFIG_DIR/writers.d/other"
"$UMBRA" writers | grep -Eq 'other .*stable +4711 +other.service ' || fail "process and unit: $("$UMBRA" writers)"
# A file that is wrong fails its writer.
mkdir -p "$UMBRA_CONFIG_DIR/timeouts.d"
printf '# of the test\n\nfreeze = soon\n' >"$UMBRA_CONFIG_DIR/timeouts.d/other"
"$UMBRA" writers | grep -q "other .*failed-at-identify .*timeouts.d/other' line 3: 'freeze' must be a number of milliseconds from 100 to 3600000" || fail "$("$UMBRA" writers)"
rm "$UMBRA_CONFIG_DIR/timeouts.d/other"

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
refused 2 "list, or test, timeouts, enable or disable" frobnicate mine
refused 1 "no writer's program 'nobody'" timeouts nobody
refused 1 "'frobnicate' is no event" timeouts mine frobnicate=100
refused 1 "'abort' is no event" timeouts mine abort=1000
refused 1 "from 100 to 86400000" timeouts mine prepare-backup=99
refused 1 "from 100 to 3600000" timeouts mine freeze=3600001
refused 1 "'freeze' is not EVENT=MS" timeouts mine freeze
[ "$(limited)" = "" ] || fail "a mistake has set something: $(limited)"
