#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 18 of the answered system: a writer cuts its log off after a full, incremental or log backup, and after those only; not when its component's backup failed, nor when
# nothing was said of how it went.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"
BETEST=$BUILD/tests/betest

make_volume v ext4 64M
mkdir "$WORK/v/db"
scripted w "[{\"components\": [{\"name\": \"db\", \"files\": $(files "$WORK/v/db")}]}]" "{\"backup-complete\": {\"cut_log\": \"$WORK/v/db/log\", \"component\": \"db\"}}"
# cuts OPTION…: whether the log is cut off by a backup
cuts() {
  echo committed >"$WORK/v/db/log"
  "$BETEST" "$@" backup "$WORK/backup" w:db || fail "$*: status $?"
  [ "$(cat "$WORK/backup/files$WORK/v/db/log")" = committed ] || fail "$*: what was saved of the log is $(cat "$WORK/backup/files$WORK/v/db/log")"
  [ -s "$WORK/v/db/log" ] && echo no || echo yes
}
for type in full:yes incremental:yes log:yes differential:no copy:no; do
  [ "$(cuts --type "${type%:*}")" = "${type#*:}" ] || fail "${type%:*}: not ${type#*:}"
done
[ "$(cuts --type full --failed w:db)" = no ] || fail "cut off though the backup failed"
[ "$(cuts --type full --not-complete)" = no ] || fail "cut off though nobody said that it was saved"
expect_status 1 "$BETEST" --type everything backup "$WORK/backup" w:db
