#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of the journal of a journald of its own under load: each has all that was sent before freeze. Backup, restore to a new place
# and to the old one, beside the journald that runs, of which no message is lost. What is no journald, does not answer or answers wrongly is named.
if [ "${1:-}" != inside ]; then
  . "$(dirname "$0")/../../lib/functions.sh"
  requires_root
  requires_program unshare journalctl
  [ -x /lib/systemd/systemd-journald ] || skip "there is no systemd-journald"
  unshare -m --propagation private "$0" inside
  exit
fi
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_program jq python3 mkfs.ext4

# A machine's places, of this mount namespace alone.
MACHINE=$(cat /etc/machine-id)
JOURNAL=/var/log/journal/$MACHINE
mount -t tmpfs none /run
mount -t tmpfs none /etc/systemd
printf '[Journal]\nStorage=persistent\nAudit=no\nReadKMsg=no\nForwardToSyslog=no\nRateLimitBurst=0\nSystemMaxUse=64M\n' >/etc/systemd/journald.conf
make_volume v ext4 192M
cleanup_fn umount -l /var/log
mount "$DEVICE" /var/log
umount "$WORK/v"
mkdir -p /run/systemd/journal /var/log/journal "$WORK/mounted" "$WORK/acknowledged" "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d"
ln -s "$BUILD/writers/journal/journal" "$UMBRA_CONFIG_DIR/writers.d/journal"
make_writer before back-end '"components": []' "[ \"\$1\" != freeze ] || cp '$WORK'/acknowledged/* '$WORK/frozen/'"
load() { python3 "$TOP/tests/lib/journal-load.py" "$@"; }
background /lib/systemd/systemd-journald
JOURNALD=$PID
wait_for 20 test -S /run/systemd/journal/io.systemd.journal || fail "no journald"

# Nothing on the disk: nobody to tell. Then it is flushed, once.
"$UMBRA" --json list writers | jq -e '[.writers[] | select(.name == "journal")] == []' >/dev/null || fail "a journal in /run takes part"
mkdir "$JOURNAL"
LOADS=()
for w in 1 2 3; do
  background python3 "$TOP/tests/lib/journal-load.py" log /run/systemd/journal/socket "$w" "$WORK/acknowledged/log.$w"
  LOADS+=("$PID")
done
for w in 1 2 3; do wait_for 20 test -s "$WORK/acknowledged/log.$w" || fail "nothing is logged"; done
for provider in clone files clone files; do
  set=$("$UMBRA" --quiet --json create --require application --provider "$provider" /var/log) || fail "create"
  jq -e '.set.writers[] | select(.name == "journal" and .instance == "system" and .level == "system")' <<<"$set" >/dev/null || fail "it took no part: $set"
  "$UMBRA" --quiet mount "$(jq -r '.set.shadows[0].id' <<<"$set")" "$WORK/mounted" >/dev/null
  load check "$WORK/mounted/journal/$MACHINE" "$WORK/frozen"/* || fail "the shadow copy by $provider"
  "$UMBRA" --quiet unmount "$WORK/mounted" >/dev/null
  flushed=$(jq -r '.documents[] | select(.name == "journal") | .answers["prepare-backup"].flushed // "no"' "$UMBRA_STATE_DIR/sets/$(jq -r .set.id <<<"$set").json")
  echo "$flushed" >>"$WORK/flushed"
  "$UMBRA" --quiet delete --all >/dev/null
done
[ "$(sort "$WORK/flushed" | uniq -c | awk '{ print $1 $2 }' | xargs)" = "1from 3no" ] || fail "flushed: $(cat "$WORK/flushed")"

"$UMBRA" --quiet backup --require application /var/log --to "$WORK/backup" >/dev/null || fail "backup"
"$UMBRA" --quiet restore "$WORK/backup" --to "$WORK/new" >/dev/null || fail "restore to a new place"
load check "$WORK/new$JOURNAL" "$WORK/frozen"/* || fail "what came back to a new place"
verified() {
  jq --arg to "$WORK/new" '.restore = {"to": $to} | .writers |= map(select(.name == "journal"))' "$WORK"/backup/*/backup.json |
    UMBRA_INSTANCE=system "$UMBRA_CONFIG_DIR/writers.d/journal" post-restore | jq -r .verified
}
[ "$(verified)" = ok ] || journalctl --verify -D "$WORK/new$JOURNAL" 2>&1 | grep -q FAIL || fail "what came back is called $(verified)"
head -c 100000 /dev/urandom | dd of="$WORK/new$JOURNAL/system.journal" bs=4096 seek=10 conv=notrunc status=none
[[ $(verified) == *damaged* ]] || fail "what is damaged is called $(verified)"

# In place, while journald and its clients go on: what was logged since is there, too.
"$UMBRA" --quiet restore "$WORK/backup" >/dev/null || fail "restore in place"
for pid in "${LOADS[@]}"; do kill_and_wait "$pid"; done
journalctl --sync
[ -e /run/systemd/journal/flushed ] || fail "journald stays in /run"
load check "$JOURNAL" "$WORK/acknowledged"/* || fail "what came back in place"
load log /run/systemd/journal/socket 4 "$WORK/acknowledged/log.4" 10
journalctl --sync
load check "$JOURNAL" "$WORK/acknowledged/log.4" || fail "journald does not go on"
! readlink "/proc/$JOURNALD/fd"/* | grep 'journal~' || fail "journald goes on in a file that was set aside"
kill_and_wait "$JOURNALD"

# What stands in a namespace's place.
mkdir /run/systemd/journal.fake "$JOURNAL.fake" "$WORK/fake"
background python3 "$TOP/tests/lib/journald-fake.py" /run/systemd/journal.fake/io.systemd.journal "$WORK/fake"
wait_for 20 test -S /run/systemd/journal.fake/io.systemd.journal || fail "no socket"
create() { "$UMBRA" --quiet create --writer journal --provider null /var/log; }
rm -r "$JOURNAL"
expect_status 0 create
[ "$(cat "$WORK/fake/asked")" = '{"method":"io.systemd.Journal.Synchronize","parameters":{}}
{"method":"io.systemd.Journal.Synchronize","parameters":{}}' ] || fail "it was asked $(cat "$WORK/fake/asked")"
# fails ANSWER WORDS
fails() {
  printf "$1" >"$WORK/fake/answer"
  expect_status 3 create
  expect_output "writer 'journal fake'.*failed-at-prepare-snapshot: .*$2"
}
fails '{"error":"io.systemd.Journal.NotSupportedByNamespaces","parameters":{}}\0' "journald answers 'Synchronize': io.systemd.Journal.NotSupportedByNamespaces"
fails 'no JSON\0' "journald's answer"
fails '{"parameters":{}}' "journald's answer has no end"
fails flood "journald"
printf hang >"$WORK/fake/answer"
make_writer before back-end '"components": []' "[ \"\$1\" != freeze ] || printf hang >'$WORK/fake/answer'"
rm "$WORK/fake/answer"
expect_status 3 "$UMBRA" --quiet create --provider null /var/log
expect_output "writer 'journal fake'.*failed-at-freeze: .*journald does not answer in time"
# Its units cannot be stopped without systemd.
rm "$WORK/fake/answer"
"$UMBRA" --quiet backup --writer journal --provider null /var/log --to "$WORK/of-fake" >/dev/null || fail "backup of a namespace"
expect_status 1 "$UMBRA" restore "$WORK/of-fake"
expect_output "the journald of namespace 'fake' runs: end it first"

# With a systemd that notes what it is told: units that log there would be stopped with the sockets, and are named; what was stopped when another does not stop is started.
mkdir -p /run/systemd/system "$WORK/bin"
cat >"$WORK/bin/systemctl" <<END
#!/bin/bash
unit=\${!#}
case "\$*" in
  "show -p RequiredBy "*.socket) echo systemd-journald@fake.service shop.service ;;
  "show -p ActiveState "*shop.service) cat "$WORK/shop" ;;
  "stop "* | "start "*)
    echo "\$1 \$unit" >>"$WORK/told"
    [ "\$1 \$unit" != "\$(cat "$WORK/refused")" ]
    ;;
  *) exit 1 ;;
esac
END
chmod +x "$WORK/bin/systemctl"
PATH=$WORK/bin:$PATH
pre_restore() {
  : >"$WORK/told"
  jq '.restore = {} | .writers |= map(select(.name == "journal" and .instance == "fake"))' "$WORK"/of-fake/*/backup.json |
    UMBRA_INSTANCE=fake "$UMBRA_CONFIG_DIR/writers.d/journal" pre-restore
}
told() { diff - "$WORK/told" || fail "systemd was told otherwise"; }
: >"$WORK/refused"
for state in active activating; do
  echo "$state" >"$WORK/shop"
  expect_status 1 pre_restore
  expect_output "'shop.service' log to the journal's namespace 'fake', .*: end them first"
  told </dev/null
done
echo inactive >"$WORK/shop"
echo stop systemd-journald-varlink@fake.socket >"$WORK/refused"
expect_status 1 pre_restore
expect_output "'systemd-journald-varlink@fake.socket' does not stop"
told <<'TOLD'
stop systemd-journald@fake.socket
stop systemd-journald-varlink@fake.socket
start systemd-journald@fake.socket
TOLD
: >"$WORK/refused"
: >"$WORK/told"
expect_status 0 "$UMBRA" --quiet restore "$WORK/of-fake"
told <<'TOLD'
stop systemd-journald@fake.socket
stop systemd-journald-varlink@fake.socket
stop systemd-journald@fake.service
start systemd-journald@fake.socket
start systemd-journald-varlink@fake.socket
start systemd-journald@fake.service
TOLD
