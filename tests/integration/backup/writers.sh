#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up a volume of an exec writer and expects its excludes to be left out, its document and answers in backup.json and given to
# the next backup, pre-restore and post-restore to reach it when files come back to their place and not elsewhere, a component that is
# restored only where it is missing to be left alone, and a writer that failed to make the exit status 3.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume data ext4 64M
data=$WORK/data
mkdir -p "$data/db/tmp" "$data/conf" "$UMBRA_CONFIG_DIR/writers.d"
echo rows >"$data/db/table"
echo junk >"$data/db/tmp/sort"
echo junk >"$data/db/table.lock"
echo set >"$data/conf/local"
writer=$UMBRA_CONFIG_DIR/writers.d/shop
cat >"$writer" <<END
#!/bin/bash
case \$1 in
  identify)
    cat <<'DOCUMENT'
{"name": "shop", "level": "back-end", "components": [
  {"name": "db", "files": [{"path": "$data/db", "pattern": "*", "recursive": true}],
   "excludes": [{"path": "$data/db/tmp", "pattern": "*"}, {"path": "$data/db", "pattern": "*.lock", "recursive": false}]},
  {"name": "conf", "files": [{"path": "$data/conf", "pattern": "*", "recursive": true}], "restore": {"method": "if-not-there"}}]}
DOCUMENT
    ;;
  post-snapshot) cat >"$WORK/document"; echo '{"stamp": "log-17"}' ;;
  backup-complete) jq -r .set.succeeded >>"$WORK/events" ;;
  *) cat >"$WORK/document-\$1" ;;
esac
[ ! -e "$WORK/say-at-\$1" ] || echo "{\"message\": \"\$(cat "$WORK/say-at-\$1")\"}"
[ -e "$WORK/fail-at-\$1" ] && { echo "no disk for \$1" >&2; exit 1; }
[ "\$1" = identify ] || echo "\$1" >>"$WORK/events"
END
chmod +x "$writer"
umbra() { "$UMBRA" --quiet "$@"; }

umbra --json backup "$data" --to "$WORK/target" >"$WORK/json" || fail "the backup failed"
[ "$(jq -r .backup.set.consistency "$WORK/json")" = application ] || fail "it is not application-consistent"
name=$(jq -r .backup.name "$WORK/json")
grep -qx backup-complete "$WORK/events" && grep -qx true "$WORK/events" || fail "the writer did not hear that it succeeded"
jq -e '.writers[0].metadata.components | length == 2' "$WORK/target/$name/backup.json" >/dev/null || fail "no writer's document kept"
umbra ls "$WORK/target@latest" >"$WORK/list"
! grep -qE 'tmp/sort|table.lock' "$WORK/list" || fail "what the writer excludes is in the backup"
grep -q "$data/db/tmp$" "$WORK/list" || fail "the directory of excluded files is not in the backup"

# The stamp that it gave comes back with the next backup.
umbra backup --type incremental "$data" --to "$WORK/target" >/dev/null || fail "the incremental backup failed"
jq -e '[.components | .. | .stamp? // empty] | index("log-17")' "$WORK/document" >/dev/null || { cat "$WORK/document"; fail "the stamp did not come back"; }

# In place: both events, and what is to be restored only where it is missing.
: >"$WORK/events"
echo newer >"$data/conf/local"
echo lost >"$data/db/table"
umbra restore "$WORK/target@$name" >"$WORK/said" || fail "restore failed"
[ "$(grep restore "$WORK/events" | tr '\n' ' ')" = "pre-restore post-restore " ] || fail "events: $(cat "$WORK/events")"
[ "$(cat "$data/db/table") $(cat "$data/conf/local")" = "rows newer" ] || fail "restored $(cat "$data/db/table") $(cat "$data/conf/local")"
grep -q '1 existing kept' "$WORK/said" || fail "what was kept is not said"
rm "$data/conf/local"
umbra restore "$WORK/target" >/dev/null && [ "$(cat "$data/conf/local")" = set ] || fail "what was missing did not come back"

# Of files that are not its own it hears nothing; of its own, that it is these.
: >"$WORK/events"
echo other >"$data/other"
umbra backup "$data" --to "$WORK/other-set" >/dev/null || fail "the backup failed"
: >"$WORK/events"
umbra restore "$WORK/other-set" "$data/other" >/dev/null || fail "restore failed"
! grep -q restore "$WORK/events" || fail "told of somebody else's file"
echo saying >"$WORK/say-at-post-restore"
"$UMBRA" restore "$WORK/other-set" "$data/db/table" >/dev/null 2>"$WORK/log" || fail "restore failed"
[ "$(grep restore "$WORK/events" | tr '\n' ' ')" = "pre-restore post-restore " ] || fail "events: $(cat "$WORK/events")"
[ "$(jq -c .restore "$WORK/document-post-restore")" = "{\"paths\":[\"$data/db/table\"]}" ] || fail "$(jq -c .restore "$WORK/document-post-restore")"
grep -q "writer 'shop': saying" "$WORK/log" || fail "what it says is not shown: $(cat "$WORK/log")"
rm "$WORK/say-at-post-restore"

# Elsewhere nobody has to be told.
: >"$WORK/events"
umbra restore "$WORK/target" --to "$WORK/out" >/dev/null || fail "restore failed"
! grep -q restore "$WORK/events" || fail "the writer was told of a restore that does not touch it"
[ "$(cat "$WORK/out$data/conf/local")" = set ] || fail "not restored elsewhere"

# A writer that cannot let go of its files stops the restore before anything happens.
touch "$WORK/fail-at-pre-restore"
echo live >"$data/db/table"
! umbra restore "$WORK/target" >/dev/null 2>"$WORK/log" || fail "restored against the writer's will"
grep -q "shop.*no disk for pre-restore" "$WORK/log" || { cat "$WORK/log"; fail "the writer is not named"; }
[ "$(cat "$data/db/table")" = live ] || fail "files were restored all the same"
[ "$(tail -n 1 "$WORK/events")" = post-restore ] || fail "it was left as it had made itself ready: $(cat "$WORK/events")"

# Less than it promised: status 3, and the backup says so.
touch "$WORK/fail-at-freeze"
status=0
umbra backup "$data" --to "$WORK/target" >/dev/null 2>"$WORK/log" || status=$?
[ "$status" = 3 ] || { cat "$WORK/log"; fail "status $status instead of 3"; }
grep -q shop "$WORK/log" || fail "the writer is not named"
[ "$(umbra --json ls "$WORK/target" | jq -r '.backups[-1].consistency')" = filesystem ] || fail "the backup says more than it is"
status=0
umbra backup "$data" --to "$WORK/other" --require application >/dev/null 2>&1 || status=$?
[ "$status" = 1 ] && [ "$(umbra --json ls "$WORK/other" | jq '.backups | length')" = 0 ] || fail "--require did not hold"
