#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of a slapd with two databases under load, with dbnosync and slapd.conf, too: each has all that was acknowledged at freeze, nothing half
# done, and the databases fit each other. When umbra or the writer is killed in freeze clients go on, without an error. A transaction that does
# not end is waited for no longer than the limit. Backup, restore to a new place and to the old one; a damaged database is named.
. "$(dirname "$0")/../../lib/functions.sh"
[ -x "${UMBRA_BUILD:-$TOP/build}/writers/openldap/openldap" ] || skip "the build has no writers/openldap"
. "$TOP/tests/lib/openldap.sh"
requires_root
requires_program jq python3 mkfs.ext4 mkfs.btrfs setpriv unshare cc

make_volume v ext4 192M
make_volume b btrfs 256M
mkdir "$WORK/mounted"
# Where nobody may run and read them, whoever may reach the sources.
install -m 755 "$BUILD/tests/lmdb-hold" "$WORK/lmdb-hold"
install -m 644 "$TOP/tests/lib/openldap-load.py" "$WORK/openldap-load.py"

held_by_another() {
  background "${AS_USER[@]}" "$WORK/lmdb-hold" "$DATA/first" >"$WORK/begun"
  HOLDER=$PID
  wait_for 30 test -s "$WORK/begun" || fail "no transaction"
}

openldap_start "$WORK/b/unsynced" 'olcDbNoSync: TRUE'
for _ in 1 2 3; do openldap_shadow --provider btrfs; done
held_by_another
expect_status 3 "$UMBRA" --quiet create "$WORK/b"
expect_output "failed-at-freeze: .*'$DATA/first': a transaction of somebody does not end"
"$UMBRA" --quiet delete --all >/dev/null
kill_and_wait "$HOLDER"
openldap_goes_on
openldap_stop

openldap_start "$WORK/v/ldap"
"$UMBRA" --json list writers >"$WORK/writers"
jq -e --arg at "$DATA" '.writers[] | select(.name == "openldap" and .failure == null) | .metadata.components
  | [.[].name] == ["configuration", "dc=first", "dc=second"] and .[0].files[0].path == $at + "/slapd.d" and .[2].files[0].path == $at + "/second"' "$WORK/writers" >/dev/null ||
  fail "who is there: $(cat "$WORK/writers")"
for provider in clone files clone files; do openldap_shadow --provider "$provider"; done

# umbra dies while clients stand still; then its writer does.
frozen_kill() { # umbra or writer
  local umbra
  rm -f "$WORK/hangs"
  touch "$WORK/hang"
  "$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>&1 &
  umbra=$!
  wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
  if [ "$1" = umbra ]; then kill -KILL "$umbra"; else kill -KILL "$(pgrep -f "^$UMBRA_CONFIG_DIR/writers.d/openldap session")"; fi
  openldap_goes_on
  kill -KILL "$umbra" 2>/dev/null || true
  wait "$umbra" 2>/dev/null || true
  rm "$WORK/hang"
  "$UMBRA" recover >/dev/null 2>&1 || true
}
frozen_kill umbra
frozen_kill writer
openldap_goes_on

# Held from freeze to thaw: while the last writer is frozen, nothing is written.
touch "$WORK/hang"
rm -f "$WORK/hangs"
"$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>&1 &
umbra=$!
wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
last=$(cat "$WORK/acknowledged"/* | wc -l)
at_freeze=$(cat "$WORK/frozen"/* | wc -l)
[ "$last" = "$at_freeze" ] || fail "$((last - at_freeze)) writes were acknowledged in freeze"
"${AS_USER[@]}" python3 - "$WORK/sockets/live" "$WORK" <<'PYTHON' || fail "readers do not go on"
import importlib.util, sys
spec = importlib.util.spec_from_file_location("load", sys.argv[2] + "/openldap-load.py")
load = importlib.util.module_from_spec(spec)
spec.loader.exec_module(load)
server = load.Server(sys.argv[1])
server.socket.settimeout(20)
server.bind("cn=admin,dc=first", "secret")
# Compare (RFC 4511, 4.10): 5 and 6 are its answers
try:
    server(load.ber(0x6E, load.text("dc=first") + load.ber(0x30, load.text("dc") + load.text("first"))))
except SystemExit as e:
    sys.exit(0 if "answers 6" in str(e) else f"{e}")
PYTHON
kill "$umbra"
wait "$umbra" 2>/dev/null || true
rm "$WORK/hang"
openldap_goes_on

# Somebody's transaction does not end. At one instant the database is as after a crash; with answers to clients before the disk has them it is a failure.
held_by_another
set=$("$UMBRA" --quiet --json create --require application "$WORK/v") || fail "create beside a transaction that does not end"
openldap_answers "$(jq -r .set.id <<<"$set")"
jq -e '(.["not-held"] | test("first.: a transaction of somebody does not end")) and .["transaction-0"] == null' "$WORK/answers" >/dev/null || fail "$(cat "$WORK/answers")"
"$UMBRA" --quiet delete --all >/dev/null
kill_and_wait "$HOLDER"
openldap_goes_on

install -D /dev/null "$DATA/first/below/lock.mdb"
"$UMBRA" --quiet backup --require application "$DATA" --to "$WORK/backup" >/dev/null || fail "backup"
"$UMBRA" --quiet restore "$WORK/backup" --to "$WORK/new" >"$WORK/output" 2>&1 || fail "restore to a new place: $(cat "$WORK/output")"
openldap_check "$WORK/new$DATA"
[ -e "$WORK/new$DATA/first/below/lock.mdb" ] && [ ! -e "$WORK/new$DATA/first/lock.mdb" ] || fail "what is left out, or is not: $(find "$WORK/new$DATA/first")"

# It is read as its owner, not as root, not as the server's user of then; also where only root can go.
document() { jq --arg to "$1" '.restore = ($to | fromjson) | .writers |= map(select(.name == "openldap"))' "$WORK"/backup/*/backup.json; }
post_restore() { UMBRA_INSTANCE=$(jq -r '.writers[0].instance' "$WORK/document") "$UMBRA_CONFIG_DIR/writers.d/openldap" post-restore <"$WORK/document"; }
document "{\"to\": \"$WORK/new\"}" >"$WORK/document"
chmod 700 "$WORK/new"
chown daemon:daemon "$WORK/new$DATA/first/data.mdb"
expect_status 0 post_restore
chmod 0 "$WORK/new$DATA/first/data.mdb"
expect_status 1 post_restore
expect_output "database 'dc=first' .*Permission denied"

# In place: not while the server runs.
expect_status 1 "$UMBRA" restore "$WORK/backup"
expect_output "process $SERVER serves '$DATA/first'"
for pid in "${LOADS[@]}" "$SERVER"; do kill_and_wait "$pid"; done
expect_status 0 "$UMBRA" restore "$WORK/backup"
expect_output "'dc=first': [0-9]+ entries, as of transaction [0-9]+; 'dc=second': 4 entries"
openldap_check "$DATA" whole

# What comes back is not of the transaction that was promised; only the configuration comes back.
document '{}' >"$WORK/document"
expect_status 0 post_restore
document '{}' | jq '.writers[0].answers.freeze["transaction-1"] = "1"' >"$WORK/document"
expect_status 1 post_restore
expect_output "'dc=second' in '$DATA/second' is as of transaction [0-9]+, the copy was made at 1"
document "{\"paths\": [\"$DATA/slapd.d\"]}" | jq '.writers[0].answers.freeze["transaction-1"] = "1"' >"$WORK/document"
expect_status 0 post_restore
document "{\"components\": [{\"writer\": \"openldap\", \"instance\": $(jq '.writers[0].instance' "$WORK/document"), \"name\": \"dc=first\"}]}" |
  jq '.writers[0].answers.freeze["transaction-1"] = "1"' >"$WORK/other"
mv "$WORK/other" "$WORK/document"
expect_status 0 post_restore

openldap_server "$DATA" "$WORK/sockets/live"
SERVER=$PID
background python3 "$TOP/tests/lib/openldap-load.py" transfer "$WORK/sockets/live" 9 "$WORK/acknowledged/log.9"
wait_for 30 test -s "$WORK/acknowledged/log.9" || fail "what came back is not written to"
kill_and_wait "$PID"

# Damaged when it is backed up: named when it comes back. The first pages say which is the last transaction.
dd if=/dev/urandom of="$DATA/first/data.mdb" bs=4096 seek=2 count=2000 conv=notrunc status=none
"$UMBRA" --quiet backup --require application "$DATA" --to "$WORK/damaged" >/dev/null || fail "backup of what is damaged"
expect_status 1 "$UMBRA" restore "$WORK/damaged" --to "$WORK/elsewhere"
expect_output "database 'dc=first' in '$WORK/elsewhere$DATA/first' is damaged"
kill_and_wait "$SERVER"

# A directory that is not of the process's user is nobody's that would have to take part.
install -d -o nobody -g nogroup "$WORK/v/other"
openldap_configure "$WORK/v/other"
chown root "$WORK/v/other/first"
chmod 777 "$WORK/v/other/first"
openldap_server "$WORK/v/other" "$WORK/sockets/live"
"$UMBRA" --json list writers >"$WORK/writers"
jq -e --arg at "$WORK/v/other/first" '.writers[] | select(.name == "openldap") | .failure | contains("a database is in \u0027\($at)\u0027, which is not its user")' "$WORK/writers" >/dev/null ||
  fail "the directory of another user: $(cat "$WORK/writers")"

# slapd.conf, in a directory of its own.
kill_and_wait "$PID"
install -d -o nobody -g nogroup "$WORK/v/old" "$WORK/v/old/data"
printf 'include /etc/ldap/schema/core.schema\nmoduleload back_mdb\ndatabase mdb\nsuffix "dc=old"\nrootdn "cn=admin,dc=old"\nrootpw secret\ndirectory %s\nenvflags nosync\n' "$WORK/v/old/data" >"$WORK/v/old/slapd.conf"
rm -f "$WORK/sockets/live"
background "${AS_USER[@]}" slapd -d 0 -h "ldapi://${WORK//\//%2F}%2Fsockets%2Flive" -f "$WORK/v/old/slapd.conf"
wait_for 30 test -S "$WORK/sockets/live" || fail "no server with slapd.conf"
"$UMBRA" --json list writers >"$WORK/writers"
jq -e --arg at "$WORK/v/old" '.writers[] | select(.name == "openldap" and .failure == null) | (.metadata.key | fromjson | .databases[0].unsynced) and
  (.metadata.components[0].files == [{"path": $at, "pattern": "slapd.conf", "recursive": false}]) and .metadata.components[1].files[0].path == $at + "/data"' "$WORK/writers" >/dev/null ||
  fail "slapd.conf: $(cat "$WORK/writers")"
SERVER=$PID

# Ordinary users' that do not answer keep nobody out: they are given up together.
install -d -m 755 "$WORK/slow"
cc -x c -o "$WORK/slow/slapd" - <<<'int pause(void); int main(void) { return pause(); }'
SLOW=()
for _ in 1 2 3; do
  background setpriv --reuid=12345 --regid=12345 --clear-groups "$WORK/slow/slapd" -F "$WORK/slow"
  SLOW+=("$PID")
done
expect_status 0 "$UMBRA_CONFIG_DIR/writers.d/openldap" identify
expect_output "ordinary users run too many or too slow servers called 'slapd': not all of theirs take part"
expect_output "nobody@"
for pid in "${SLOW[@]}" "$SERVER"; do kill_and_wait "$pid"; done

# What root runs under that name is run again only if nobody else may change it, and is nobody's that takes part if it has another root, or is another file here.
failures() { "$UMBRA" --json list writers | jq -r '.writers[] | select(.name == "openldap") | .failure'; }
sleeping() { wait_for 20 grep -qx slapd "/proc/$PID/comm" || fail "no process of that name"; }
install -o nobody "$(command -v sleep)" "$WORK/slapd"
background "$WORK/slapd" 1000
sleeping
[[ $(failures) == *"its program '$WORK/slapd' is not run again, since others than root may change it"* ]] || fail "a program of nobody's that root runs: $(failures)"
kill_and_wait "$PID"
install -D -o nobody "$(command -v sleep)" "$WORK/jail/slapd"
mkdir "$WORK/jail/usr"
ln -s usr/lib usr/lib64 "$WORK/jail"
background unshare -m sh -c "mount --bind /usr '$WORK/jail/usr' && exec chroot '$WORK/jail' /slapd 1000"
sleeping
[ -z "$(failures)" ] || fail "one with another root: $(failures)"
kill_and_wait "$PID"
install -D -o nobody /dev/null "$WORK/other/slapd"
background unshare -m sh -c "mount --bind '$WORK/slapd' '$WORK/other/slapd' && exec '$WORK/other/slapd' 1000"
sleeping
[ -z "$(failures)" ] || fail "one that is another file here: $(failures)"
kill_and_wait "$PID"
