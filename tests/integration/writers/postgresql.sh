#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of PostgreSQL clusters under load. Data, log and a tablespace are three volumes of one set; or two volumes that cannot
# share one instant, copied in backup mode. A server that is started on the copies recovers to a whole database with every transaction that was
# acknowledged before. umbra killed on the way leaves nothing on the server; a copy that cannot be recovered is called a failure.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/postgresql.sh"
. "$TOP/tests/lib/writers.sh"
requires_program mkfs.btrfs
SETS=${SETS:-2}



# in_space PORT DIRECTORY: accounts lie in a tablespace there
in_space() {
  psql -p "$1" -c "CREATE TABLESPACE other LOCATION '$2'"
  psql -p "$1" -c "ALTER TABLE pgbench_accounts SET TABLESPACE other" -c "ALTER INDEX pgbench_accounts_pkey SET TABLESPACE other"
}

# create VOLUME...: a set of them with status 0, into set
create() {
  "$UMBRA" --json create --require application "$@" >"$WORK/set" 2>"$WORK/messages" || { cat "$WORK/messages" >&2; fail "create"; }
  [ ! -s "$WORK/messages" ] || { echo "create said:"; cat "$WORK/messages"; }
  set=$(jq .set "$WORK/set")
}

make_volume data ext4 400M
make_volume wal ext4 400M
make_volume space ext4 200M
install -d -o postgres "$WORK"/{data,wal,space}/pg
make_cluster "$WORK/data/pg/main" 5999 -X "$WORK/wal/pg/wal"
in_space 5999 "$WORK/space/pg"
start_load 5999
for ((i = 1; i <= SETS; i++)); do
  acknowledged=$(ask acknowledged)
  create "$WORK/data" "$WORK/wal" "$WORK/space"
  [ "$(jq -r '.writers[] | .name + .instance + .state' <<<"$set")" = "postgresql$WORK/data/pg/mainstable" ] || fail "$set"
  [ "$(jq -r .instant <<<"$set")" = set ] || fail "$set"
  judge_copies "$set" "$WORK/data/pg/main" "$acknowledged"
  [ ! -e "$WORK/layered-label" ] || fail "copied in backup mode, though it was one instant"
  "$UMBRA" --quiet delete "$(jq -r .id <<<"$set")"
done
# A volume of it is missing: it is named, and the set is not consistent for the database.
expect_status 3 "$UMBRA" --json create "$WORK/data" "$WORK/wal"
expect_output "also has files on volume '$WORK/space'"
"$UMBRA" --quiet delete --all
stop_load
echo "$SETS shadow copies of one instant under $TRANSACTIONS transactions"
server stop "$WORK/data/pg/main" fast

make_volume b1 btrfs 2G
make_volume b2 btrfs 1G
install -d -o postgres "$WORK"/{b1,b2}/pg
make_cluster "$WORK/b1/pg/main" 5998
in_space 5998 "$WORK/b2/pg"
start_load 5998
for ((i = 1; i <= SETS; i++)); do
  acknowledged=$(ask acknowledged)
  create "$WORK/b1" "$WORK/b2"
  [ "$(jq -r .instant <<<"$set")" = per-volume ] || fail "$set"
  # It does not depend on how close to each other they were made.
  judge_copies "$set" "$WORK/b1/pg/main" "$acknowledged"
  [ -e "$WORK/layered-label" ] || fail "not copied in backup mode"
  "$UMBRA" --quiet delete "$(jq -r .id <<<"$set")"
done

# Killed while the server is in backup mode: its connection ends, and with it the mode and the slot.
make_writer late system '"components": []' "[ \"\$1\" != freeze ] || { touch '$WORK/frozen'; exec sleep 30; }"
of_umbra() { psql -p 5998 -c "SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'umbra') || ' ' || (SELECT count(*) FROM pg_replication_slots)"; }
"$UMBRA" --quiet create "$WORK/b1" "$WORK/b2" >/dev/null 2>&1 &
umbra=$!
cleanup_fn kill_and_wait "$umbra"
wait_for 30 test -e "$WORK/frozen" || fail "the freeze did not come"
[ "$(of_umbra)" = "1 1" ] || fail "connections and slots: $(of_umbra)"
kill -KILL "$umbra"; wait "$umbra" 2>/dev/null || true
nothing_of_umbra() { [ "$(of_umbra)" = "0 0" ]; }
wait_for 30 nothing_of_umbra || fail "left on the server: $(of_umbra)"
before=$(ask acknowledged | tr ' ' '\n' | awk '{ n += $1 } END { print n + 100 }')
wait_for 30 load_has_done "$before" || fail "the database does not go on"
rm "$UMBRA_CONFIG_DIR/writers.d/late"
"$UMBRA" --quiet recover >/dev/null 2>&1 || true

# Without the log that recovers it such a copy is worth nothing, and says so.
expect_status 3 "$UMBRA" --json create --no-repair "$WORK/b1" "$WORK/b2"
expect_output "postgresql.*failed-at-post-snapshot.*neither archived .archive_mode. nor could be put into it"
"$UMBRA" --quiet delete --all
stop_load

# A server that does not let us in, or is being started, is named; one that does not run is copied as it lies there.
psql -p 5998 -c "ALTER SYSTEM SET max_connections = 10"
echo "local all postgres reject" | cat - "$WORK/b1/pg/main/pg_hba.conf" >"$WORK/hba" && cat "$WORK/hba" >"$WORK/b1/pg/main/pg_hba.conf"
psql -p 5998 -c "SELECT pg_reload_conf()" >/dev/null
rejected() { status=0; "$UMBRA" --json create "$WORK/b1" "$WORK/b2" >"$WORK/output" 2>&1 || status=$?; "$UMBRA" --quiet delete --all; [ "$status" = 3 ]; }
wait_for 30 rejected || fail "not let in, but status $status"
expect_output "postgresql.*failed-at-prepare-backup.*connecting: .*pg_hba.conf rejects"
server stop "$WORK/b1/pg/main" fast
echo "cluster.shop = $WORK/b1/pg/main" >"$UMBRA_CONFIG_DIR/writers/postgresql.conf"
create "$WORK/b1" "$WORK/b2"
[ "$(jq -r '.writers[] | .name + .instance + .state' <<<"$set")" = postgresqlshopstable ] || fail "$set"
"$UMBRA" --quiet delete --all
echo "shop = 7" >"$UMBRA_CONFIG_DIR/writers/postgresql.conf"
expect_status 3 "$UMBRA" --json create "$WORK/b1" "$WORK/b2"
expect_output "writers/postgresql.conf:1: "
