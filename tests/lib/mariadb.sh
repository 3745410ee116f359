# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh: a private MariaDB server under load on a volume, and starting servers on shadow copies.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"
. "$TOP/tests/lib/writers.sh"
requires_program mariadbd mariadb mariadb-install-db
WORKERS=(1 2 3)
OPTIONS=(--innodb-log-file-size=8M --innodb-buffer-pool-size=24M --aria-pagecache-buffer-size=8M --key-buffer-size=1M --performance-schema=off --skip-networking)
mariadb_load() { python3 "$TOP/tests/lib/mariadb-load.py" "$@"; }
AS_NOBODY=(setpriv --reuid=nobody --regid=nogroup --clear-groups)

# mariadb_server DIRECTORY SOCKET OPTION...: one of nobody, without network; sets PID
mariadb_server() {
  local directory=$1 socket=$2; shift 2
  background "${AS_NOBODY[@]}" "$(command -v mariadbd)" --no-defaults --datadir="$directory" --socket="$socket" --pid-file="$socket.pid" \
    --log-error="$socket.log" --tmpdir="$(dirname "$socket")" "${OPTIONS[@]}" "$@"
  wait_for 60 mariadb-admin --no-defaults -u root -S "$socket" ping || fail "no server at $socket: $(tail -n 30 "$socket.log")"
}

# mariadb_start DIRECTORY OPTION...: a server with its files there, and processes that write to it. A system-level writer, which freezes after
# all others, saves what was acknowledged by then. SERVER.
mariadb_start() {
  local w
  DATA=$1; shift
  chmod 711 "$WORK"
  install -d -o nobody -g nogroup "$DATA" "$WORK/sockets"
  install -d "$WORK/acknowledged" "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d"
  mariadb-install-db --no-defaults --datadir="$DATA" --user=nobody --auth-root-authentication-method=socket --skip-test-db \
    --innodb-log-file-size=8M --tmpdir="$WORK/sockets" >"$WORK/install" 2>&1 || fail "mariadb-install-db: $(cat "$WORK/install")"
  mariadb_server "$DATA" "$WORK/sockets/live" "$@"
  SERVER=$PID
  mariadb_load make "$WORK/sockets/live"
  ln -sf "$BUILD/writers/mariadb/mariadb" "$UMBRA_CONFIG_DIR/writers.d/mariadb"
  make_writer acknowledged system '"components": []' \
    "[ \"\$1\" != freeze ] || cp '$WORK'/acknowledged/* '$WORK/frozen/'; ! [ -e '$WORK/hang' -a \"\$1\" = freeze ] || { touch '$WORK/hangs'; exec sleep 60; }"
  LOADS=()
  for w in "${WORKERS[@]}"; do
    background python3 "$TOP/tests/lib/mariadb-load.py" transfer "$WORK/sockets/live" "$w" "$WORK/acknowledged/log.$w"
    LOADS+=("$PID")
  done
  for w in "${WORKERS[@]}"; do wait_for 30 test -s "$WORK/acknowledged/log.$w" || fail "nothing is written"; done
}

mariadb_goes_on() {
  local bytes
  bytes=$(acknowledged_bytes)
  wait_for 20 grew "$bytes" || fail "nothing more is written"
}
acknowledged_bytes() { cat "$WORK/acknowledged"/* | wc -c; }
grew() { [ "$(acknowledged_bytes)" -gt "$1" ]; }

# mariadb_check DIRECTORY: a server that starts with a copy of the files there has all that was acknowledged, and nothing half done
mariadb_check() {
  local copy
  rm -rf "$WORK/copy" "$WORK/sockets/copy"*
  cp -a "$1" "$WORK/copy"
  mariadb_server "$WORK/copy" "$WORK/sockets/copy"
  copy=$PID
  mariadb_load check "$WORK/sockets/copy" "$WORK/frozen"/* || fail "the copy: $(grep -i error "$WORK/sockets/copy.log")"
  kill_and_wait "$copy"
  rm -rf "$WORK/copy"
}

# mariadb_shadow OPTION...: a set of $DATA's volume, its shadow copy checked
mariadb_shadow() {
  local set
  set=$("$UMBRA" --quiet --json create --require application "$@" "$DATA") || fail "create"
  "$UMBRA" --quiet mount "$(jq -r '.set.shadows[0].id' <<<"$set")" "$WORK/mounted" >/dev/null || fail "mount"
  mariadb_check "$WORK/mounted${DATA#"$(stat -c %m "$DATA")"}"
  "$UMBRA" --quiet unmount "$WORK/mounted" >/dev/null
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")" >/dev/null
}
