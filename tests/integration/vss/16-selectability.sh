#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 16 of the answered system: components are selected by name; what lies below a selected one comes with it, what cannot be left out comes,
# too, what can be is left out; a writer of whom nothing is selected takes no part.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"

make_volume v ext4 48M
for d in db log tables core extra other; do mkdir "$WORK/v/$d"; echo "$d" >"$WORK/v/$d/file"; done
component() { jq -nc --arg name "$1" --argjson files "$(files "$WORK/v/$2")" --argjson selectable "$3" '{$name, $files, $selectable}'; }
instances="[{\"instance\": \"one\", \"level\": \"back-end\", \"components\": [$(component db db true), $(component db/log log false), $(component db/tables tables true),
  $(component core core false), $(component extra extra true)]},
  {\"instance\": \"two\", \"components\": [$(component db other true)]}]"
scripted w "$instances" '{"prepare-backup": {"ask": ["db", "db/log", "db/tables", "core", "extra"]}}'

# backup COMPONENT…: what is in it, on one line
backup() {
  local options=()
  rm -rf "$LOG" "$WORK/backup"
  for c; do options+=(--component "$c"); done
  expect_status 0 "$UMBRA" --quiet backup --provider files "${options[@]}" --to "$WORK/backup"
  SAVED=$("$UMBRA" ls "$WORK/backup@latest" | grep -oP '\w+(?=/file$)' | sort | tr '\n' ' ')
}
all="prepare-backup prepare-snapshot freeze thaw post-snapshot backup-complete shutdown"

backup w/one:db
[ "$SAVED" = "core db log tables " ] || fail "with db: $SAVED"
[ "$(told one)" = "$all" ] || fail "one was told: $(told one)"
[ -z "$(told two)" ] || fail "two, of which nothing was selected, was told: $(told two)"
for c in db:1 db/log:1 db/tables:1 core:1 extra:0; do
  [ "$(asked one "${c%:*}" selected)" = "${c#*:}" ] || fail "of ${c%:*} the writer heard: $(asked one "${c%:*}" selected)"
done
selected=$(jq -c '.writers[] | select(.instance == "one") | .selected' "$WORK"/backup/*/backup.json)
[ "$(jq -cS . <<<"$selected")" = '{"core":"required","db":"explicit","db/log":"implicit","db/tables":"implicit"}' ] || fail "kept with the backup: $selected"
[ "$(jq '.writers | length' "$WORK"/backup/*/backup.json)" = 1 ] || fail "the other writer is in the backup's document"

backup w/one:db/tables
[ "$SAVED" = "core tables " ] || fail "with db/tables: $SAVED"
backup w/one:extra w/two:db
[ "$SAVED" = "core extra other " ] || fail "with extra and two's db: $SAVED"
[ "$(told two)" = "$all" ] || fail "two was told: $(told two)"
# Files of a writer of whom nothing was selected, saved as files: it is not its business.
rm -rf "$LOG" "$WORK/backup"
expect_status 0 "$UMBRA" --quiet backup --provider files --component w/one:extra "$WORK/v/other" --to "$WORK/backup"
"$UMBRA" ls "$WORK/backup@latest" | grep -q v/other/file || fail "the source beside the component is not saved"
[ -n "$(told one)" ] && [ -z "$(told two)" ] || fail "told: $(cat "$LOG")"
# Without an instance: of each that has it.
backup w:db
[ "$SAVED" = "core db log other tables " ] || fail "with w:db: $SAVED"

# What comes only with another one, and what is not there.
expect_status 1 "$UMBRA" backup --provider files --component w/one:db/log --to "$WORK/backup"
expect_output "'w/one:db/log' cannot be selected alone: it comes with 'w/one:db'"
expect_status 1 "$UMBRA" backup --provider files --component w/one:nothing --to "$WORK/backup"
expect_output "no component 'w/one:nothing'"
expect_status 0 "$UMBRA" list components
expect_output 'w/one:db/log .* no .*/v/log'
