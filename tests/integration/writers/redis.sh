#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of a Redis server under load, with its append-only file synced every second, always, and without one: a server that starts
# with the copy has all that was acknowledged at freeze and nothing half done. When umbra or the writer is killed in freeze clients go
# on. Backup, restore to a new place and to the old one; a damaged file is named; a password.
. "$(dirname "$0")/../../lib/functions.sh"
[ -x "${UMBRA_BUILD:-$TOP/build}/writers/redis/redis" ] || skip "the build has no writers/redis"
. "$TOP/tests/lib/redis.sh"
requires_root
requires_program jq python3 mkfs.ext4 setpriv

make_volume v ext4 192M
mkdir "$WORK/mounted"

redis_start "$WORK/v/always" --appendonly yes --appendfsync always
for provider in clone files; do redis_shadow --provider "$provider"; done
redis_stop

redis_start "$WORK/v/saved" --appendonly no --save 3600 1000000
for provider in clone files; do redis_shadow --provider "$provider"; done
redis_stop

redis_start "$WORK/v/second" --appendonly yes --appendfsync everysec --auto-aof-rewrite-min-size 1mb --auto-aof-rewrite-percentage 10
"$UMBRA" --json list writers >"$WORK/writers"
# Of a long path the end is its name.
instance=$(jq -r --arg at "$WORK/v/second" '.writers[] | select(.name == "redis" and .metadata.components[0].files[0].path == $at) | .instance' "$WORK/writers")
[[ $instance == nobody@* && nobody@$WORK/sockets/live == *"${instance#nobody@}" ]] || fail "'$instance': $(cat "$WORK/writers")"
for provider in clone files clone files; do redis_shadow --provider "$provider"; done

# umbra dies while clients stand still; then its writer does.
frozen_kill() { # PATTERN-OF-THE-PROCESS or umbra
  local umbra
  rm -f "$WORK/hangs"
  touch "$WORK/hang"
  "$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>&1 &
  umbra=$!
  wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
  if [ "$1" = umbra ]; then kill -KILL "$umbra"; else kill -KILL "$(pgrep -f "^$UMBRA_CONFIG_DIR/writers.d/redis session")"; fi
  redis_goes_on
  kill -KILL "$umbra" 2>/dev/null || true
  wait "$umbra" 2>/dev/null || true
  rm "$WORK/hang"
  "$UMBRA" recover >/dev/null 2>&1 || true
}
frozen_kill umbra
frozen_kill writer
redis_goes_on

"$UMBRA" --quiet backup --require application "$WORK/v/second" --to "$WORK/backup" >/dev/null || fail "backup"
"$UMBRA" --quiet restore "$WORK/backup" --to "$WORK/new" >/dev/null || fail "restore to a new place"
redis_check "$WORK/new$WORK/v/second"

# In place: not while the server runs.
expect_status 1 "$UMBRA" restore "$WORK/backup"
expect_output "process $SERVER serves"
for pid in "${LOADS[@]}" "$SERVER"; do kill_and_wait "$pid"; done
"$UMBRA" --quiet restore "$WORK/backup" >/dev/null || fail "restore in place"
redis_check "$WORK/v/second" whole

# The server wants a password, which the writer gets from its configuration. Damaged when it was backed up: named when it comes back.
rm -rf "$WORK"/acknowledged "$WORK/sockets"/*
redis_server "$WORK/v/second" "$WORK/sockets/live" "${OPTIONS[@]}" --auto-aof-rewrite-percentage 0 --requirepass secret
says() { "$UMBRA" --json list writers | jq -e --arg i "$instance" --arg w "$1" '[.writers[] | select(.instance == $i) | (.failure // "fine")] | .[0] | contains($w)'; }
wait_for 20 says "wants a password" || fail "a password is not asked for: $("$UMBRA" --json list writers)"
mkdir -p "$UMBRA_CONFIG_DIR/writers"
printf '# of the test\nnobody@6379 other\n%s secret\n' "$instance" >"$UMBRA_CONFIG_DIR/writers/redis.conf"
says "must be root's alone" >/dev/null || fail "a password for all to read: $("$UMBRA" --json list writers)"
chmod 600 "$UMBRA_CONFIG_DIR/writers/redis.conf"
says fine >/dev/null || fail "the password does not do: $("$UMBRA" --json list writers)"
for log in "$WORK"/v/second/appendonlydir/*.incr.aof; do printf 'no command of the server\n' | dd of="$log" bs=1 conv=notrunc status=none; done
"$UMBRA" --quiet backup --require application "$WORK/v/second" --to "$WORK/damaged" >/dev/null || fail "backup with a password"
expect_status 1 "$UMBRA" restore "$WORK/damaged" --to "$WORK/elsewhere"
expect_output "elsewhere.*appendonly.aof.manifest' is damaged"

# As in a container: its directory has another place here, and it is nobody that would have to take part.
install -d -o nobody -g nogroup "$WORK/v/seen" "$WORK/v/real"
background unshare -m bash -c 'mount --bind "$1/v/real" "$1/v/seen" && exec setpriv --reuid=nobody --regid=nogroup --clear-groups "$2" --port 0 \
  --unixsocket "$1/sockets/inside" --dir "$1/v/seen" --appendonly yes --requirepass unknown --logfile "$1/sockets/inside.log"' - "$WORK" "$REDIS"
wait_for 30 test -S "$WORK/sockets/inside" || fail "no server inside"
"$UMBRA" --json list writers >"$WORK/writers"
! grep -q "sockets/inside" "$WORK/writers" || fail "what is in a container takes part: $(cat "$WORK/writers")"
grep -q "sockets/live" "$WORK/writers" || fail "the other one does not"
