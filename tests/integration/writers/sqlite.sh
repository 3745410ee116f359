#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of SQLite databases that four processes write, in WAL mode and with a rollback journal: each copy is sound, has
# all that was committed when it was frozen and nothing half done. When umbra is killed in freeze the processes go on. A database that is locked for good
# is named. Backup, restore to a new place and to the old one, where nothing of the present log is taken for the backup's; a damaged one is named.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/sqlite.sh"
requires_root
requires_program jq python3 mkfs.ext4 setpriv sqlite3
[ -x "$BUILD/writers/sqlite/sqlite" ] || skip "the build has no writers/sqlite"

make_volume v ext4 128M
mkdir "$WORK/mounted"
sqlite_start "$WORK/v/data"
"$UMBRA" --json list writers >"$WORK/writers"
[ "$(jq -r '[.writers[] | select(.name == "sqlite") | .instance] | sort | join(" ")' "$WORK/writers")" = "nobody root" ] || fail "$(cat "$WORK/writers")"

for provider in clone files clone files; do sqlite_shadow --provider "$provider"; done
sqlite_goes_on
ls -l "$WORK"/v/data/*/ | awk '$3 == "root" && $9 ~ /^wal/ { exit 1 }' || fail "files of nobody's database became root's: $(ls -l "$WORK/v/data/wal")"

# umbra dies while they stand still.
touch "$WORK/hang"
"$UMBRA" --quiet create --provider clone "$WORK/v/data" >/dev/null 2>&1 &
umbra=$!
wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
kill -KILL "$umbra"
wait "$umbra" 2>/dev/null || true
sqlite_goes_on
rm "$WORK/hang"
"$UMBRA" recover >/dev/null 2>&1 || true

# Locked for good: named, and as after a crash in the copy.
mkdir "$WORK/v/data/held"
sqlite_load make "$WORK/v/data/held/held.db" DELETE
background "$PYTHON" "$LOAD_PROGRAM" hold "$WORK/v/data/held/held.db" >"$WORK/held"
wait_for 20 test -s "$WORK/held"
"$UMBRA" --quiet backup --require application "$WORK/v/data/held" --to "$WORK/of-held" >/dev/null || fail "backup of a database that is locked"
jq -r '.writers[] | .answers.freeze // {} | .[]' "$WORK/of-held"/*/backup.json >"$WORK/answers"
grep -qF "'$WORK/v/data/held/held.db' is locked by process $PID" "$WORK/answers" || fail "who has it locked is not told: $(cat "$WORK/answers")"
kill_and_wait "$PID"
rm -r "$WORK/v/data/held"

# Backup, and what it brings back elsewhere.
"$UMBRA" --quiet backup --require application "$WORK/v/data" --to "$WORK/backup" >/dev/null || fail "backup"
"$UMBRA" --quiet ls "$WORK/backup@latest" >"$WORK/list"
! grep -q -- '-shm$' "$WORK/list" || fail "the index of the log is in the backup"
"$UMBRA" --quiet restore "$WORK/backup" --to "$WORK/new" >/dev/null || fail "restore to a new place"
sqlite_check "$WORK/new$WORK/v/data"

# In place: not while somebody has it open; then the present log must not be replayed over what has come back.
expect_status 1 "$UMBRA" restore "$WORK/backup"
expect_output "open in process"
for pid in $(jobs -p); do kill_and_wait "$pid"; done
[ -s "$WORK/v/data/wal/wal.db-wal" ] || fail "the killed processes have left no log"
"$UMBRA" --quiet restore "$WORK/backup" >/dev/null || fail "restore in place"
sqlite_check "$WORK/v/data"

# What was damaged when it was backed up is named when it comes back. Nobody has this one open: it is listed.
mkdir -p "$WORK/v/listed" "$UMBRA_CONFIG_DIR/writers"
printf '# of the shop\n%s\n!*/journal/*\n' "$WORK/v/listed/*.db" >"$UMBRA_CONFIG_DIR/writers/sqlite.conf"
sqlite_load make "$WORK/v/listed/a [b]*.db" WAL
dd if=/dev/zero of="$WORK/v/listed/a [b]*.db" bs=4096 seek=5 count=3 conv=notrunc status=none
"$UMBRA" --quiet backup --require application "$WORK/v/listed" --to "$WORK/damaged" >/dev/null || fail "backup of a listed database"
[ "$(jq -r '.writers[].metadata.components[].name' "$WORK"/damaged/*/backup.json)" = "$WORK/v/listed/a [b]*.db" ] || fail "not the listed database alone"
expect_status 1 "$UMBRA" restore "$WORK/damaged" --to "$WORK/elsewhere"
expect_output "elsewhere.*a \\[b\\]\\*.db' is damaged"
