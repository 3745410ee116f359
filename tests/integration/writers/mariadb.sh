#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of a MariaDB server under load that syncs its log once a second only: a server that starts with the copy has all that was acknowledged at
# freeze and nothing half done. When umbra or the writer is killed in freeze clients go on; a query in the way is not waited for without
# a limit; a server of which a directory lies elsewhere fails. Backup, restore to a new place, where it is recovered, and to the old one.
. "$(dirname "$0")/../../lib/functions.sh"
[ -x "$BUILD/writers/mariadb/mariadb" ] || skip "the build has no writers/mariadb"
. "$TOP/tests/lib/mariadb.sh"
requires_root
requires_program jq python3 mkfs.ext4 setpriv

make_volume v ext4 400M
make_volume w ext4 32M
install -d -o nobody -g nogroup "$WORK/w/binary-log"
chmod 711 "$WORK"
mkdir "$WORK/mounted"
mariadb_start "$WORK/v/data" --innodb-flush-log-at-trx-commit=0 --log-bin --server-id=1

for provider in clone files clone; do mariadb_shadow --provider "$provider"; done
mariadb_goes_on

# umbra dies while clients stand still; then its writer does.
frozen_kill() { # umbra or writer
  local umbra
  rm -f "$WORK/hangs"
  touch "$WORK/hang"
  "$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>&1 &
  umbra=$!
  wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
  if [ "$1" = umbra ]; then kill -KILL "$umbra"; else kill -KILL "$(pgrep -f "^$UMBRA_CONFIG_DIR/writers.d/mariadb session")"; fi
  mariadb_goes_on
  kill -KILL "$umbra" 2>/dev/null || true
  wait "$umbra" 2>/dev/null || true
  rm "$WORK/hang"
  "$UMBRA" recover >/dev/null 2>&1 || true
}
frozen_kill umbra
frozen_kill writer

# A statement that writes to a table without transactions and goes on: not waited for for ever, and the others go on.
mariadb --no-defaults -u root -S "$WORK/sockets/live" bank -e "INSERT INTO slow SELECT SLEEP(60)" &
slow=$!
cleanup_fn kill_and_wait "$slow"
wait_for 20 bash -c "mariadb --no-defaults -u root -S '$WORK/sockets/live' -e 'SHOW PROCESSLIST' | grep -q 'User sleep'" || fail "the slow statement does not run"
expect_status 3 "$UMBRA" --quiet create --provider clone "$WORK/v"
expect_output "mariadb.*worth a retry.*Lock wait timeout"
"$UMBRA" --quiet delete --all >/dev/null
mariadb_goes_on
kill_and_wait "$slow"
mariadb --no-defaults -u root -S "$WORK/sockets/live" -N -e "SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE state = 'User sleep'" |
  mariadb --no-defaults -u root -S "$WORK/sockets/live"

"$UMBRA" --quiet backup --require application "$WORK/v/data" --to "$WORK/backup" >/dev/null || fail "backup"
jq -e '.writers[] | select(.name == "mariadb") | .answers.freeze | (.binlog_file | length > 0) and (.binlog_position | tonumber > 0) and (.gtid | startswith("0-1-"))' \
  "$WORK"/backup/*/backup.json >/dev/null || fail "no position: $(jq '.writers[].answers' "$WORK"/backup/*/backup.json)"
"$UMBRA" --quiet restore "$WORK/backup" --to "$WORK/new" >/dev/null || fail "restore to a new place: $(cat "$WORK/new$WORK/v/data/umbra-recovery.err")"
grep -qi "crash recovery" "$WORK/new$WORK/v/data/umbra-recovery.err" || fail "it was not recovered: $(cat "$WORK/new$WORK/v/data/umbra-recovery.err")"
mariadb_check "$WORK/new$WORK/v/data"
rm -rf "$WORK/new"

# In place: not while the server runs.
expect_status 1 "$UMBRA" restore "$WORK/backup"
expect_output "process $SERVER serves"
for pid in "${LOADS[@]}" "$SERVER"; do kill_and_wait "$pid"; done
"$UMBRA" --quiet restore "$WORK/backup" >/dev/null || fail "restore in place"
mariadb_check "$WORK/v/data"

# Part of its files on a volume that is not in the set.
rm -f "$WORK/sockets"/*
mariadb_server "$WORK/v/data" "$WORK/sockets/live" --log-bin="$WORK/w/binary-log/log" --server-id=1
expect_status 3 "$UMBRA" --quiet create --provider clone "$WORK/v"
expect_output "mariadb.*all of its files at one instant"
"$UMBRA" --quiet create --require application --provider clone "$WORK/v" "$WORK/w" >/dev/null || fail "both volumes"
"$UMBRA" --quiet delete --all >/dev/null
