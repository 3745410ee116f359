# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh: PostgreSQL clusters of a test's own, transactions on them, and judging shadow copies by starting a server on them.
# shellcheck shell=bash
requires_root
PG=$(find /usr/lib/postgresql/*/bin -name pg_ctl 2>/dev/null | sort -V | tail -n 1)
PG=${PG%/pg_ctl}
[ -x "$PG/pgbench" ] || skip "PostgreSQL's server is not installed"
getent passwd postgres >/dev/null || skip "there is no user postgres"
requires_program jq setpriv mkfs.ext4 unshare
chmod 711 "$WORK"
mkdir -p "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/writers"
ln -s "$BUILD/writers/postgresql/postgresql" "$UMBRA_CONFIG_DIR/writers.d/postgresql"
# Small, so that much happens in a short test: evictions, checkpoints of the server's own.
SETTINGS=("shared_buffers = 64MB" "max_wal_size = 128MB" "autovacuum_naptime = 5s")
SOCKETS=$WORK/s SCALE=${SCALE:-1}
install -d -o postgres "$SOCKETS" "$WORK/log"
export PGUSER=loader PGHOST=$SOCKETS PGDATABASE=postgres
unset PGPORT PGPASSWORD PGDATA PGOPTIONS
as_postgres() { env -u PGUSER -u PGHOST -u PGDATABASE setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
psql() { "$PG/psql" -qAtX -v ON_ERROR_STOP=1 "$@"; }

# server start|stop DATA [PORT]: the postmaster is none of this shell's children; it goes by pg_ctl
server() {
  local what=$1 data=$2
  case $what in
    start) as_postgres "$PG/pg_ctl" -s -D "$data" -w -t 60 -l "$WORK/log/$3" -o "-p $3 -k $SOCKETS -c listen_addresses=''" start || { tail -n 20 "$WORK/log/$3" >&2; return 1; } ;;
    stop) as_postgres "$PG/pg_ctl" -s -D "$data" -w -m "${3:-immediate}" stop ;;
  esac
}

# make_cluster DATA PORT [INITDB OPTION...]: with tables of pgbench. Of the system's users only root, as role loader, and postgres are let in,
# each as itself.
make_cluster() {
  local data=$1 port=$2; shift 2
  install -d -m 700 -o postgres -g postgres "$data"
  (cd / && as_postgres "$PG/initdb" -D "$data" -A peer -N --no-instructions -k "$@" >"$WORK/log/initdb" 2>&1) || { cat "$WORK/log/initdb" >&2; fail initdb; }
  echo "load root loader" >>"$data/pg_ident.conf"
  sed -i '1i local all loader peer map=load' "$data/pg_hba.conf"
  printf '%s\n' "${SETTINGS[@]}" >>"$data/postgresql.conf"
  cleanup_fn server stop "$data"
  cleanup_fn "$UMBRA" --quiet delete --all # while the volumes are there
  (cd / && server start "$data" "$port") || fail "the server did not start"
  (cd / && as_postgres "$PG/psql" -qX -h "$SOCKETS" -p "$port" -c "CREATE ROLE loader SUPERUSER LOGIN; CREATE EXTENSION amcheck") || fail "CREATE ROLE"
  "$PG/pgbench" -p "$port" -q -i -s "$SCALE" >"$WORK/log/pgbench" 2>&1 || { cat "$WORK/log/pgbench" >&2; fail "pgbench -i"; }
  psql -p "$port" -c "CREATE TABLE acknowledged (client int, n bigint, PRIMARY KEY (client, n))"
}

# start_load PORT [CLIENTS]; ask WORD: the answer of postgresql-load; stop_load
start_load() {
  coproc LOAD { "$BUILD/tests/postgresql-load" "$SOCKETS" "$1" "${2:-8}" "$SCALE" 2>"$WORK/log/load"; }
  # shellcheck disable=SC2153
  LOADER=$LOAD_PID
  cleanup_fn kill_and_wait "$LOADER"
  exec {LOAD_IN}>&"${LOAD[1]}" {LOAD_OUT}<&"${LOAD[0]}"
  wait_for 30 load_has_done "$((${2:-8} * 20))" || fail "the load does not get on: $(cat "$WORK/log/load")"
}
ask() { echo "$1" >&"$LOAD_IN"; local answer; read -r -t 60 answer <&"$LOAD_OUT" || fail "the load is gone: $(cat "$WORK/log/load")"; echo "$answer"; }
load_has_done() { [ "$(ask acknowledged | tr ' ' '\n' | awk '{ n += $1 } END { print n }')" -ge "$1" ]; }
stop_load() {
  TRANSACTIONS=$(ask stop)
  exec {LOAD_IN}>&- {LOAD_OUT}<&-
  wait "$LOADER" || fail "a client's statement failed: $(cat "$WORK/log/load")"
}

# judge PORT ACKNOWLEDGED: the cluster there is whole, balances add up, and it has each client's transactions up to that one, without a gap
judge() {
  local port=$1 acknowledged=$2 wrong client=0 n
  "$PG/pg_amcheck" -p "$port" --all --install-missing --heapallindexed --no-strict-names >"$WORK/log/amcheck" 2>&1 || { cat "$WORK/log/amcheck" >&2; echo "pg_amcheck found something" >&2; return 1; }
  wrong=$(psql -p "$port" -c "SELECT a, t, b, h FROM (SELECT (SELECT sum(abalance) FROM pgbench_accounts) a, (SELECT sum(tbalance) FROM pgbench_tellers) t,
    (SELECT sum(bbalance) FROM pgbench_branches) b, (SELECT coalesce(sum(delta), 0) FROM pgbench_history) h) s WHERE a <> t OR a <> b OR a <> h") || return 1
  [ -z "$wrong" ] || { echo "the sums differ: $wrong" >&2; return 1; }
  wrong=$(psql -p "$port" -c "SELECT client FROM acknowledged GROUP BY client HAVING count(*) <> max(n)
    UNION ALL SELECT -1 WHERE (SELECT count(*) FROM acknowledged) <> (SELECT count(*) FROM pgbench_history)") || return 1
  [ -z "$wrong" ] || { echo "transactions are missing: $wrong" >&2; return 1; }
  for n in $acknowledged; do
    wrong=$(psql -p "$port" -c "SELECT coalesce(max(n), 0) FROM acknowledged WHERE client = $client") || return 1
    [ "$wrong" -ge "$n" ] || { echo "client $client: up to $wrong, but $n was acknowledged before" >&2; return 1; }
    client=$((client + 1))
  done
}

# judge_copies SET-JSON DATA ACKNOWLEDGED: a server is started on the set's shadow copies, in a mount namespace in which each of them,
# with a writable layer in memory, is where its volume is; recovered, it is judged, and then the checksums of its pages.
judge_copies() {
  local id volume copy status=0
  rm -f "$WORK/copies"
  while IFS=$'\t' read -r id volume; do
    copy=$("$UMBRA" mount "$id") || fail "umbra mount"
    printf '%s\t%s\n' "$copy" "$volume" >>"$WORK/copies"
  done < <(jq -r '.shadows[] | [.id, .volume] | @tsv' <<<"$1")
  unshare -m bash -c 'set -euo pipefail; judge_layered "$@"' - "$2" "$3" || status=$?
  while IFS=$'\t' read -r copy volume; do "$UMBRA" --quiet unmount "$copy" || fail "umbra unmount"; done <"$WORK/copies"
  [ "$status" = 0 ] || fail "the shadow copy is no good: $(tail -n 5 "$WORK/log/9999")"
}
judge_layered() {
  local data=$1 acknowledged=$2 copy volume layer=$WORK/layers i=0
  mkdir -p "$layer"
  mount -t tmpfs layers "$layer"
  while IFS=$'\t' read -r copy volume; do
    i=$((i + 1))
    mkdir "$layer/$i" "$layer/$i.work"
    chown --reference="$copy" "$layer/$i"
    chmod --reference="$copy" "$layer/$i"
    mount -t overlay layered -o "lowerdir=$copy,upperdir=$layer/$i,workdir=$layer/$i.work" "$volume"
  done <"$WORK/copies"
  cd /
  rm -f "$data/postmaster.pid" "$WORK/layered-label"
  [ ! -e "$data/backup_label" ] || touch "$WORK/layered-label"
  server start "$data" 9999
  local good=0
  judge 9999 "$acknowledged" || good=1
  server stop "$data" fast
  [ "$good" = 0 ] && as_postgres "$PG/pg_checksums" --check -D "$data" >"$WORK/log/checksums" 2>&1
}
export -f judge_layered judge server as_postgres psql
export WORK PG SOCKETS
