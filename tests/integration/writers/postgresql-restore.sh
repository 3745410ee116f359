#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up a PostgreSQL cluster under load, full and three times incremental, and restores it: to a new place, where a second server starts on it
# beside the first and touches none of its files; to the original one, where its unit is stopped, what was there is moved aside and
# recovery is reported; not over a running server; with another writer's refusal in between; and one that was copied in backup mode, with the archive's log.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/postgresql.sh"
. "$TOP/tests/lib/writers.sh"

make_volume data ext4 700M
make_volume space ext4 300M
data=$WORK/data/pg/main
install -d -o postgres "$WORK"/{data,space}/pg "$WORK/archive"
make_cluster "$data" 5999
psql -p 5999 -c "ALTER SYSTEM SET archive_mode = on" -c "ALTER SYSTEM SET archive_command = 'cp %p $WORK/archive/%f'"
server stop "$data" fast && (cd / && server start "$data" 5999)
psql -p 5999 -c "CREATE TABLESPACE other LOCATION '$WORK/space/pg'"
psql -p 5999 -c "ALTER TABLE pgbench_accounts SET TABLESPACE other" -c "ALTER INDEX pgbench_accounts_pkey SET TABLESPACE other"
printf '%s\n' "cluster.shop = $data" "unit.shop = shop.service" >"$UMBRA_CONFIG_DIR/writers/postgresql.conf"
make_writer other front-end '"components": []' "[ \"\$1\" != pre-restore ] || [ ! -e '$WORK/refuse' ] || { echo 'not now' >&2; exit 1; }"
# A systemd that knows one unit.
mkdir "$WORK/bin"
cat >"$WORK/bin/systemctl" <<END
#!/bin/bash
[ "\${!#}" = shop.service ] || exit 4
cd /
case \$1 in
  is-active) [ -e "$data/postmaster.pid" ] ;;
  stop) server stop "$data" fast ;;
  start) server start "$data" 5999 ;;
esac
END
chmod +x "$WORK/bin/systemctl"
PATH=$WORK/bin:$PATH

backup() { "$UMBRA" --quiet backup --require application "$@" "$WORK/data/pg" "$WORK/space/pg" --to "$WORK/target" >"$WORK/output" 2>&1 || { cat "$WORK/output" >&2; fail "the backup failed"; }; }
start_load 5999
backup
psql -p 5999 -c "CREATE TABLE since_the_full_one ()"
for i in 1 2 3; do
  wait_for 30 load_has_done $((i * 500)) || fail "the load does not get on"
  acknowledged=$(ask acknowledged)
  backup --type incremental
done
psql -p 5999 -c "CREATE TABLE since_the_last_one ()"
"$UMBRA" ls "$WORK/target@latest" >"$WORK/list"
! grep -qE 'postmaster\.(pid|opts)|pg_internal.init|pgsql_tmp|pg_stat_tmp/.|pg_replslot/.' "$WORK/list" || fail "in the backup: $(grep -E 'postmaster|init' "$WORK/list")"
for directory in pg_replslot pg_stat_tmp pg_notify pg_snapshots pg_subtrans pg_serial pg_dynshmem pg_tblspc pg_twophase; do
  grep -qE "main/$directory/?$" "$WORK/list" || fail "directory $directory is not in the backup"
done

# To a new place, while the original goes on.
expect_status 0 "$UMBRA" restore "$WORK/target" --to "$WORK/new"
expect_output "umbra: writer 'postgresql' shop: '$WORK/new$data' is ready; starting it .* recovers up to [0-9A-F]+/[0-9A-F]+ at least"
[ "$(readlink "$WORK/new$data"/pg_tblspc/*)" = "$WORK/new$WORK/space/pg" ] || fail "the tablespace is that of the original: $(ls -l "$WORK/new$data/pg_tblspc")"
chmod 711 "$WORK/new"
cleanup_fn server stop "$WORK/new$data"
(cd / && server start "$WORK/new$data" 5997) || fail "the restored one does not start"
judge 5997 "$acknowledged" || fail "the restored one is no good"
psql -p 5997 -c "SELECT FROM since_the_full_one" || fail "the incremental backup is not in it"
! psql -p 5997 -c "SELECT FROM since_the_last_one" 2>/dev/null || fail "it is the original"
expect_status 1 "$UMBRA" restore "$WORK/target" --to "$WORK/new"
expect_output "process [0-9]+ serves '$WORK/new$data': stop it first"
server stop "$WORK/new$data" fast
# Once more: nothing is mixed with what lies there, nor is the original's tablespace moved.
expect_status 0 "$UMBRA" restore "$WORK/target" --to "$WORK/new"
compgen -G "$WORK/new$WORK/space/pg/umbra-before-restore-*/PG_*" >/dev/null || fail "files of two times are mixed in the tablespace"
compgen -G "$WORK/new$data/umbra-before-restore-*/base" >/dev/null || fail "files of two times are mixed"
# One file: elsewhere nobody minds, in its place it would be the end of the cluster.
expect_status 0 "$UMBRA" restore "$WORK/target" --to "$WORK/one" "$data/postgresql.conf"
[ -s "$WORK/one$data/postgresql.conf" ] || fail "it is not there"
expect_status 1 "$UMBRA" restore "$WORK/target" "$data/global/pg_control"
expect_output "a cluster is restored as a whole: restore all places"
stop_load
judge 5999 "$acknowledged" || fail "the original has suffered"

# Over a running server whose unit is not known: not at all.
cp "$UMBRA_CONFIG_DIR/writers/postgresql.conf" "$WORK/conf"
sed -i /unit/d "$UMBRA_CONFIG_DIR/writers/postgresql.conf"
expect_status 1 "$UMBRA" restore "$WORK/target"
expect_output "process [0-9]+ serves '$data': stop it first"
psql -p 5999 -c "SELECT FROM since_the_last_one" || fail "the server is gone"
cp "$WORK/conf" "$UMBRA_CONFIG_DIR/writers/postgresql.conf"

# Another writer refuses: everything is as it was before.
touch "$WORK/refuse"
expect_status 1 "$UMBRA" restore "$WORK/target"
expect_output "other.*not now"
rm "$WORK/refuse"
psql -p 5999 -c "SELECT FROM since_the_last_one" || fail "the server is gone"
judge 5999 "$acknowledged" || fail "the original has suffered"
! compgen -G "$data/umbra-before-restore-*" || fail "something is still aside"

# To the original place.
expect_status 0 "$UMBRA" restore "$WORK/target"
expect_output "umbra: writer 'postgresql' shop: recovered up to [0-9A-F]+/[0-9A-F]+ on timeline 1; the copy was made at [0-9A-F]+/[0-9A-F]+"
judge 5999 "$acknowledged" || fail "the restored one is no good"
! psql -p 5999 -c "SELECT FROM since_the_last_one" 2>/dev/null || fail "nothing was restored"
[ -e "$(echo "$data"/umbra-before-restore-*)/global/pg_control" ] || fail "what was there is not aside"
compgen -G "$WORK/space/pg/umbra-before-restore-*/PG_*" >/dev/null || fail "the tablespace's files are not aside"

# In backup mode: without whole pages in the log an instant is not enough. The label is in the backup, the log in the archive.
psql -p 5999 -c "ALTER SYSTEM SET full_page_writes = off"
psql -p 5999 -c "SELECT pg_reload_conf()" >/dev/null
wait_for 20 test "$(psql -p 5999 -c 'SHOW full_page_writes')" = off || fail "full_page_writes"
start_load 5999
acknowledged=$(ask acknowledged)
backup
stop_load
psql -p 5999 -c "SELECT pg_switch_wal()" >/dev/null
server stop "$data" fast
rm -rf "$WORK/new"
expect_status 1 "$UMBRA" restore "$WORK/target" --to "$WORK/new"
expect_output "not started: it needs segments [0-9A-F]{24} to [0-9A-F]{24} of the log from the archive"
[ -e "$WORK/new$data/backup_label" ] || fail "no label"
grep -q " $WORK/new$WORK/space/pg$" "$WORK/new$data/tablespace_map" || fail "a map of the original"
chmod 711 "$WORK/new"
echo "restore_command = 'cp $WORK/archive/%f %p'" >>"$WORK/new$data/postgresql.conf"
as_postgres touch "$WORK/new$data/recovery.signal"
(cd / && server start "$WORK/new$data" 5997) || fail "the restored one does not start"
recovered() { [ "$(psql -p 5997 -c "SELECT pg_is_in_recovery()")" = f ]; }
wait_for 60 recovered || fail "recovery from the archive does not end: $(tail -n 5 "$WORK/log/5997")"
judge 5997 "$acknowledged" || fail "the one from backup mode is no good"
