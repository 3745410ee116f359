#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up by component and restores by component: only files that match are saved and come back, what a component depends on comes with it, stamps come
# back at the next backup, each component hears how its backup went.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"

make_volume v ext4 64M
make_volume u ext4 64M
mkdir -p "$WORK/v/db/deep/empty" "$WORK/v/log/sub" "$WORK/u/base" "$WORK/u/never"
touch "$WORK"/v/db/{a.db,b.txt,x.tmp} "$WORK"/v/db/deep/{c.db,d.txt,y.tmp} "$WORK"/v/log/{1,2}.log "$WORK"/v/log/sub/3.log "$WORK/u/base/file" "$WORK/u/never/file"
main=$(jq -nc --argjson db "$(files "$WORK/v/db" '*.db')" --argjson log "$(files "$WORK/v/log" '*.log' false)" --arg d "$WORK/v/db" '
  [{instance: "one", components: [
    {name: "db", files: $db, excludes: [], dependencies: [{writer: "base", component: "files"}]},
    {name: "log", files: $log}]}]')
scripted main "$main" '{"prepare-backup": {"ask": ["db"]}, "post-snapshot": {"stamps": {"db": "stamp-1", "log": "log-1"}},
  "backup-complete": {"ask": ["db", "log"]}, "pre-restore": {"ask": ["db", "log"]}, "post-restore": {"ask": ["db", "log"]}}'
scripted base "[{\"components\": [{\"name\": \"files\", \"files\": $(files "$WORK/u/base")}, {\"name\": \"never\", \"files\": $(files "$WORK/u/never")}]}]"
paths() { "$UMBRA" ls "$WORK/backup@latest" | grep -oP "(?<=$WORK)/[uv]/.*" | sort | tr '\n' ' '; }

expect_status 0 "$UMBRA" --quiet backup --provider files --component main/one:db --to "$WORK/backup"
[ "$(paths)" = "/u/base /u/base/file /v/db /v/db/a.db /v/db/deep /v/db/deep/c.db /v/db/deep/empty " ] || fail "saved: $(paths)"
[ "$(asked one db type)" = full ] && [ "$(asked one db stamp)" = - ] && [ "$(asked one db partial)" = 0 ] || fail "$(cat "$LOG")"
[ "$(asked one db succeeded)" = 1 ] || fail "the writer does not know that its component was saved"
[ "$(jq -c '[.writers[] | select(.name == "base") | .selected]' "$WORK"/backup/*/backup.json)" = '[{"files":"dependency"}]' ] || fail "$(jq .writers "$WORK"/backup/*/backup.json)"
# The next one goes on from it: the stamp is back.
: >"$LOG"; touch "$WORK/v/db/new.db"
expect_status 0 "$UMBRA" --quiet backup --type incremental --provider files --component main/one:db --to "$WORK/backup"
grep -q "^asked one db type=incremental selected=1 stamp=stamp-1 " "$LOG" || fail "$(cat "$LOG")"
# A component on which nothing depends comes alone; "not recursive" is; beside it a source is saved as a whole.
rm -rf "$WORK/backup"
expect_status 0 "$UMBRA" --quiet backup --provider files --component main/one:log "$WORK/u/never" --to "$WORK/backup"
[ "$(paths)" = "/u/never /u/never/file /v/log /v/log/1.log /v/log/2.log " ] || fail "saved: $(paths)"

# What it depends on is gone: said, and by the status.
mv "$UMBRA_CONFIG_DIR/writers.d/base" "$WORK/base"
expect_status 3 "$UMBRA" backup --provider files --component main/one:db --to "$WORK/without"
expect_output "component 'base:files', which a selected one depends on, is not there"
mv "$WORK/base" "$UMBRA_CONFIG_DIR/writers.d/base"

# Restored by component: what is not its own stays as it is, though it is in the backup and below the same directory.
rm -rf "$WORK/backup"
echo saved | tee "$WORK"/v/db/{a.db,b.txt} "$WORK/v/log/1.log" >/dev/null
expect_status 0 "$UMBRA" --quiet backup --provider files "$WORK/v" --to "$WORK/backup"
echo newer | tee "$WORK"/v/db/{a.db,b.txt} "$WORK/v/log/1.log" >/dev/null
rm -r "$WORK/v/db/deep"; : >"$LOG"
expect_status 0 "$UMBRA" --quiet restore --component main/one:db "$WORK/backup"
[ "$(cat "$WORK/v/db/a.db") $(cat "$WORK/v/db/b.txt") $(cat "$WORK/v/log/1.log")" = "saved newer newer" ] || fail "restored: $(cat "$WORK"/v/db/*)"
[ -e "$WORK/v/db/deep/c.db" ] && [ -d "$WORK/v/db/deep/empty" ] && [ ! -e "$WORK/v/db/deep/d.txt" ] || fail "restored: $(find "$WORK/v/db")"
[ "$(told one)" = "pre-restore post-restore" ] || fail "told: $(cat "$LOG")"
[ "$(asked one db restores)$(asked one log restores)$(asked one db restored)" = 101 ] || fail "$(cat "$LOG")"
expect_status 1 "$UMBRA" restore --component main/one:nothing "$WORK/backup"
expect_output "no component 'main/one:nothing'"
expect_status 2 "$UMBRA" restore --component main/one:db "$WORK/backup" "$WORK/v"
# To another place.
rm -rf "$WORK/out"
expect_status 0 "$UMBRA" --quiet restore --component main/one:log "$WORK/backup" --to "$WORK/out"
[ "$(find "$WORK/out" -type f | grep -oP '[^/]+$' | sort | tr '\n' ' ')" = "1.log 2.log " ] || fail "restored: $(find "$WORK/out")"
