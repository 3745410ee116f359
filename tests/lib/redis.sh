# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh: a private Redis server under load on a volume, and starting servers on shadow copies.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"
. "$TOP/tests/lib/writers.sh"
REDIS=$(command -v redis-server || command -v valkey-server) || skip "neither redis-server nor valkey-server is installed"
CHECK_AOF=$(command -v redis-check-aof || command -v valkey-check-aof) || skip "there is no redis-check-aof"
WORKERS=(1 2 3)
redis_load() { python3 "$TOP/tests/lib/redis-load.py" "$@"; }

# redis_server DIRECTORY SOCKET OPTION...: one of nobody, without TCP; sets PID
redis_server() {
  local directory=$1 socket=$2; shift 2
  background setpriv --reuid=nobody --regid=nogroup --clear-groups "$REDIS" --port 0 --unixsocket "$socket" --dir "$directory" \
    --daemonize no --logfile "$socket.log" --maxmemory 64mb "$@"
  wait_for 30 test -S "$socket" || fail "no server at $socket: $(cat "$socket.log")"
}

# redis_start DIRECTORY OPTION...: a server with its files there, and processes that write to it. A system-level writer, which freezes after
# all others, saves what was acknowledged by then. SERVER, OPTIONS.
redis_start() {
  local w
  DATA=$1; shift
  OPTIONS=("$@")
  chmod 711 "$WORK"
  install -d -o nobody -g nogroup "$DATA" "$WORK/sockets"
  install -d "$WORK/acknowledged" "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d"
  redis_server "$DATA" "$WORK/sockets/live" "${OPTIONS[@]}"
  SERVER=$PID
  redis_load make "$WORK/sockets/live"
  ln -sf "$BUILD/writers/redis/redis" "$UMBRA_CONFIG_DIR/writers.d/redis"
  make_writer acknowledged system '"components": []' \
    "[ \"\$1\" != freeze ] || cp '$WORK'/acknowledged/* '$WORK/frozen/'; ! [ -e '$WORK/hang' -a \"\$1\" = freeze ] || { touch '$WORK/hangs'; exec sleep 60; }"
  LOADS=()
  for w in "${WORKERS[@]}"; do
    background python3 "$TOP/tests/lib/redis-load.py" transfer "$WORK/sockets/live" "$w" "$WORK/acknowledged/log.$w"
    LOADS+=("$PID")
  done
  for w in "${WORKERS[@]}"; do wait_for 30 test -s "$WORK/acknowledged/log.$w" || fail "nothing is written"; done
}
redis_stop() {
  local pid
  for pid in "${LOADS[@]}" "$SERVER"; do kill_and_wait "$pid"; done
  rm -rf "$WORK/acknowledged" "$WORK/frozen" "$WORK/sockets"
}

redis_goes_on() {
  local bytes
  bytes=$(acknowledged_bytes)
  wait_for 20 grew "$bytes" || fail "nothing more is written"
}
acknowledged_bytes() { cat "$WORK/acknowledged"/* | wc -c; }
grew() { [ "$(acknowledged_bytes)" -gt "$1" ]; }

# redis_check DIRECTORY: a server that starts with a copy of the files there has all that was acknowledged, and nothing half done
redis_check() {
  local copy
  rm -rf "$WORK/copy"
  cp -a "$1" "$WORK/copy"
  ! ls "$WORK/copy"/temp-* 2>/dev/null || [ "${2:-}" = whole ] || fail "files of a save under way came back"
  if [ -e "$WORK/copy/appendonlydir" ]; then
    "$CHECK_AOF" "$WORK/copy/appendonlydir/appendonly.aof.manifest" >"$WORK/checked" 2>&1 || { cat "$WORK/checked"; fail "redis-check-aof"; }
  fi
  rm -f "$WORK/sockets/copy"
  redis_server "$WORK/copy" "$WORK/sockets/copy" "${OPTIONS[@]}"
  copy=$PID
  wait_for 30 redis_answers "$WORK/sockets/copy" || fail "the copy does not start: $(cat "$WORK/sockets/copy.log")"
  redis_load check "$WORK/sockets/copy" "$WORK/frozen"/* || fail "the copy"
  kill_and_wait "$copy"
}
redis_answers() { redis_load check "$1"; }

# redis_shadow OPTION...: a set of $DATA's volume, its shadow copy checked
redis_shadow() {
  local set
  set=$("$UMBRA" --quiet --json create --require application "$@" "$DATA") || fail "create"
  "$UMBRA" --quiet mount "$(jq -r '.set.shadows[0].id' <<<"$set")" "$WORK/mounted" >/dev/null || fail "mount"
  redis_check "$WORK/mounted${DATA#"$(stat -c %m "$DATA")"}" whole
  "$UMBRA" --quiet unmount "$WORK/mounted" >/dev/null
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")" >/dev/null
}
