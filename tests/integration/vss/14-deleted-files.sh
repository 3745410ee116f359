#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 14 of the answered system: what is deleted after the shadow copy is backed up from it all the same; what is excluded is not, after a restore
# by another requester neither; each component hears how its own backup went.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"
BETEST=$BUILD/tests/betest

make_volume v ext4 64M
mkdir -p "$WORK/v/data/sub" "$WORK/v/other"
for f in data/one data/sub/two data/sub/x.tmp other/three; do echo "$f" >"$WORK/v/$f"; done
scripted w "[{\"components\": [
  {\"name\": \"data\", \"files\": $(files "$WORK/v/data"), \"excludes\": $(files "$WORK/v/data" '*.tmp')}, {\"name\": \"data/below\"},
  {\"name\": \"other\", \"files\": $(files "$WORK/v/other")}]}]" '{"thaw": {"delete": ["'"$WORK"'/v/data/one", "'"$WORK"'/v/data/sub/two"]},
  "backup-complete": {"ask": ["data", "data/below", "other"]}}'
cp -a "$WORK/v" "$WORK/before"

"$BETEST" --failed w:other backup "$WORK/backup" w:data w:other || fail "backup: status $?"
[ ! -e "$WORK/v/data/one" ] && [ ! -e "$WORK/v/data/sub/two" ] || fail "the writer has not deleted its files"
[ "$(jq -r '.files[]' "$WORK/backup/document.json" | sort | sed "s#$WORK/##" | tr '\n' ' ')" = "v/data/one v/data/sub/two v/other/three " ] || fail "saved: $(jq .files "$WORK/backup/document.json")"
outcomes=$(awk '$1 == "asked" { print $2 $7 }' "$LOG" | tr '\n' ' ')
[ "$outcomes" = "datasucceeded=1 data/belowsucceeded=1 othersucceeded=0 " ] || fail "outcomes: $outcomes: $(cat "$LOG")"
"$BETEST" compare "$WORK/backup" 2>/dev/null && fail "the deleted files were not missed"
"$BETEST" wipe "$WORK/backup" && "$BETEST" restore "$WORK/backup" && "$BETEST" compare "$WORK/backup" || fail "restore"
[ "$(find "$WORK/v/data" -name '*.tmp' -exec cat {} +)" = data/sub/x.tmp ] || fail "what is excluded was touched"
diff -r "$WORK/before/data" "$WORK/v/data" && diff -r "$WORK/before/other" "$WORK/v/other" || fail "not what it was"
