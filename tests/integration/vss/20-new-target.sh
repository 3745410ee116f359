#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 20 of the answered system, its new target: files come back to another place and nothing is where it was, the writer hears which, and what the requester wants
# of it. Directed targets (ranges of a file to other places) have no counterpart yet.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"
BETEST=$BUILD/tests/betest

make_volume v ext4 64M
mkdir "$WORK"/v/{one,two,three}; echo three >"$WORK/v/three/file"
echo one >"$WORK/v/one/file"; echo two >"$WORK/v/two/file"
scripted w "[{\"instance\": \"i\", \"components\": [{\"name\": \"one\", \"files\": $(files "$WORK/v/one")}, {\"name\": \"two\", \"files\": $(files "$WORK/v/two")}]},
  {\"instance\": \"j\", \"components\": [{\"name\": \"three\", \"files\": $(files "$WORK/v/three")}]}]" \
  '{"pre-restore": {"ask": ["one", "two"]}, "post-restore": {"ask": ["one", "two"]}}'
"$BETEST" backup "$WORK/backup" w/i:one w/i:two w/j:three || fail "status $?"
"$BETEST" wipe "$WORK/backup"; : >"$LOG"
"$BETEST" --to "$WORK/new" --option authoritative --component w/i:one restore "$WORK/backup" || fail "status $?"
[ "$(cat "$WORK/new$WORK/v/one/file")" = one ] && [ ! -e "$WORK/new$WORK/v/two" ] && [ ! -e "$WORK/v/one/file" ] || fail "$(find "$WORK/new" "$WORK/v")"
[ "$(told i)" = "pre-restore post-restore" ] || fail "told: $(told i)"
[ -z "$(told j)" ] || fail "a writer of whom nothing comes back was told: $(told j)"
for c in one:1 two:0; do [ "$(asked i "${c%:*}" restores)" = "${c#*:}" ] || fail "$(cat "$LOG")"; done
[ "$(asked i one option)" = authoritative ] || fail "$(cat "$LOG")"
# Of each component it hears whether it is back.
"$BETEST" --to "$WORK/new" --failed w/i:two restore "$WORK/backup" || fail "status $?"
[ "$(asked i one restored)$(asked i two restored)" = 10 ] || fail "$(cat "$LOG")"
"$BETEST" --to "$WORK/new" --component w/i:one compare "$WORK/backup" || fail "compare"
