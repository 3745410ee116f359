#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test has a libvirtd of its own with a QEMU domain, whose guest agent is tests/lib/qemu-with-agent.py: while shadow copies are made the guest is frozen, so that what
# it writes to two disks fits. It is thawed whatever is killed, stopped or hangs. Backup, restore in place and to a new place, where the domain runs.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
. "$TOP/tests/lib/libvirt.sh"
libvirt_apart "$@"

libvirt_places
"$UMBRA" --json list writers | jq -e '[.writers[] | select(.name == "libvirt")] == []' >/dev/null || fail "a writer without a libvirtd"
# A libvirtd without a QEMU driver is of other machines; one that has died is a failure by name.
drivers=$(dirname "$(dpkg -L libvirt-daemon libvirt-daemon-driver-qemu | grep -m 1 '/connection-driver/libvirt_driver_')")
mkdir "$WORK/drivers"
cp "$drivers/libvirt_driver_interface.so" "$WORK/drivers"
mount --bind "$WORK/drivers" "$drivers"
background libvirtd 2>"$WORK/libvirtd"
wait_for 30 test -S /run/libvirt/libvirt-sock || fail "no libvirtd without QEMU"
expect_status 0 "$UMBRA" --json list writers
jq -e '.writers == []' "$WORK/output" >/dev/null || fail "a writer without a QEMU driver: $(cat "$WORK/output")"
kill_and_wait "$PID"
umount "$drivers"
expect_status 0 "$UMBRA" --json list writers
expect_output "connecting to libvirt: .*Connection refused"
rm -r /run/libvirt /run/libvirtd.pid

libvirt_start
asked() { grep -c "$1" "$WORK/agent/asked" || true; }
runs() { [ ! -e "$WORK/agent/frozen" ]; }

"$UMBRA" --json list writers >"$WORK/writers"
jq -e --arg at "$WORK/v/images" '.writers[] | select(.name == "libvirt") | .instance == "one" and
  ([.metadata.components[0].files[] | .path + "/" + .pattern] | sort == [$at + "/base.qcow2", $at + "/one-a.raw", $at + "/one-b.raw", $at + "/one-c.qcow2"])' "$WORK/writers" >/dev/null ||
  fail "who is there: $(cat "$WORK/writers")"

number() { head -c 16 "$1"; }
fits() { [ "$(number "$1/one-a.raw")" = "$(number "$1/one-b.raw")" ] || fail "the guest's disks do not fit: $(number "$1/one-a.raw") $(number "$1/one-b.raw")"; }
# Frozen when the writers after it freeze.
make_writer after system '"components": []' "[ \"\$1\" != freeze ] || [ -e '$WORK/agent/frozen' ] || { echo 'the guest is not frozen' >&2; exit 1; }
  ! [ -e '$WORK/hang' -a \"\$1\" = freeze ] || { touch '$WORK/hangs'; exec sleep 60; }
  ! [ -e '$WORK/pause' -a \"\$1\" = freeze ] || { touch '$WORK/hangs'; for i in \$(seq 100); do [ -e '$WORK/pause' ] || break; sleep 0.05; done; }"
for provider in clone files clone files; do
  set=$("$UMBRA" --quiet --json create --require application --provider "$provider" "$WORK/v") || fail "create"
  runs || fail "the guest stays frozen"
  "$UMBRA" --quiet mount "$(jq -r '.set.shadows[0].id' <<<"$set")" "$WORK/mounted" >/dev/null
  fits "$WORK/mounted/images"
  "$UMBRA" --quiet unmount "$WORK/mounted" >/dev/null
  "$UMBRA" --quiet delete --all >/dev/null
done

# Whatever is killed while it is frozen it is thawed.
keepers() { pgrep -f "^$UMBRA_CONFIG_DIR/writers.d/libvirt session"; }
killed_while_frozen() { # umbra, writer, both the keeper and umbra or, as a service manager would, all
  local umbra session
  rm -f "$WORK/hangs"
  touch "$WORK/hang"
  "$UMBRA" --quiet create --provider clone "$WORK/v" >/dev/null 2>&1 &
  umbra=$!
  wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
  runs && fail "the guest is not frozen"
  session=$(pgrep -P "$umbra" -f "^$UMBRA_CONFIG_DIR/writers.d/libvirt session")
  case $1 in
    umbra) kill -KILL "$umbra" ;;
    both)
      for pid in $(keepers); do [ "$pid" = "$session" ] || kill -KILL "$pid"; done
      kill -KILL "$umbra"
      ;;
    writer) kill -KILL "$session" ;;
    all)
      for pid in $(keepers); do [ "$pid" = "$session" ] || kill -TERM "$pid"; done
      kill -KILL "$session" "$umbra"
      ;;
  esac
  wait_for 20 runs || fail "the guest stays frozen when $1 is killed"
  kill -KILL "$umbra" 2>/dev/null || true
  wait "$umbra" 2>/dev/null || true
  rm "$WORK/hang"
  "$UMBRA" recover >/dev/null 2>&1 || true
}
killed_while_frozen umbra
killed_while_frozen writer
killed_while_frozen all
killed_while_frozen both

# The keeper alone, as by a shortage of memory, which is named; while the guest freezes, too.
keeper_is_killed() {
  local session
  session=$(pgrep -P "$1" -f "^$UMBRA_CONFIG_DIR/writers.d/libvirt session")
  for pid in $(keepers); do
    [ "$pid" != "$session" ] || continue
    ! (echo -1000 >/proc/self/oom_score_adj) 2>/dev/null || [ "$(cat "/proc/$pid/oom_score_adj")" = -1000 ] || fail "a keeper is killed like others when memory is short"
    kill -KILL "$pid"
  done
}
rm -f "$WORK/hangs"
touch "$WORK/pause"
"$UMBRA" --quiet create --provider clone "$WORK/v" >"$WORK/output" 2>&1 &
umbra=$!
wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
keeper_is_killed "$umbra"
rm "$WORK/pause"
wait "$umbra" && fail "nobody heard of it"
expect_output "writer 'libvirt one'.*failed-at-thaw: .*the process that keeps the guest frozen has ended"
wait_for 20 runs || fail "the guest stays frozen when its keeper was killed"
touch "$WORK/agent/hang-freeze"
before=$(asked guest-fsfreeze-freeze)
"$UMBRA" --quiet create --provider clone "$WORK/v" >"$WORK/output" 2>&1 &
umbra=$!
is_asked() { [ "$(asked guest-fsfreeze-freeze)" -gt "$before" ]; }
wait_for 30 is_asked || fail "nobody froze"
before=$(asked guest-fsfreeze-thaw)
keeper_is_killed "$umbra"
wait "$umbra" && fail "nobody heard of it"
expect_output "writer 'libvirt one'.*failed-at-freeze: .*the process that keeps the guest frozen has ended"
rm "$WORK/agent/hang-freeze"
thawed_again() { [ "$(asked guest-fsfreeze-thaw)" -gt "$before" ] && runs; }
wait_for 30 thawed_again || fail "the guest stays frozen when its keeper was killed in freeze"

create() { "$UMBRA" --quiet create --writer libvirt --provider null "$WORK/v"; }
touch "$WORK/agent/fail-freeze"
expect_status 3 create
expect_output "writer 'libvirt one'.*failed-at-freeze: .*a hook in the guest has failed"
rm "$WORK/agent/fail-freeze"
touch "$WORK/agent/thawed-by-itself"
expect_status 3 create
expect_output "writer 'libvirt one'.*failed-at-thaw: .*the guest 'one' had thawed its filesystems before it was told"
rm "$WORK/agent/thawed-by-itself"
# Its limit comes from the machine's: umbra kills the writer, whose keeper thaws as soon as there is an answer.
limits 'freeze_limit_ms = 1500'
touch "$WORK/agent/hang-freeze"
before=$(asked guest-fsfreeze-thaw)
expect_status 1 create
rm "$WORK/agent/hang-freeze"
wait_for 30 thawed_again || fail "the guest stays frozen when the freeze came late"
rm "$UMBRA_CONFIG_DIR/umbra.conf"
no_keepers() { ! keepers; }
wait_for 30 no_keepers || fail "keepers are left: $(pgrep -af writers.d/libvirt)"

# No agent; paused.
domain two >"$WORK/two.xml"
virsh create "$WORK/two.xml" >/dev/null
virsh suspend one
set=$("$UMBRA" --quiet --json create --writer libvirt --provider clone "$WORK/v") || fail "create with those that cannot be frozen"
jq -r '.documents[] | select(.name == "libvirt") | .answers["prepare-backup"]["not-frozen"]' "$UMBRA_STATE_DIR/sets/$(jq -r .set.id <<<"$set").json" | sort >"$WORK/said"
diff - "$WORK/said" <<<'it does not run at the moment
it has no channel for a guest agent' || fail "what cannot be frozen is not told"
"$UMBRA" --quiet delete --all >/dev/null
virsh resume one
virsh destroy two

"$UMBRA" --quiet backup --require application "$WORK/v" --to "$WORK/backup" >/dev/null || fail "backup"
expect_status 0 "$UMBRA" restore "$WORK/backup" --to "$WORK/new"
expect_output "domain 'one-restored' is defined"
there=$WORK/new$WORK/v/images
fits "$there"
rm "$WORK/agent/disks"
virsh dumpxml one-restored >"$WORK/restored.xml"
for image in one-a.raw one-b.raw one-c.qcow2 base.qcow2; do grep -qF "file='$there/$image'" "$WORK/restored.xml" || fail "no $image: $(cat "$WORK/restored.xml")"; done
! grep -F "'$WORK/v/images/" "$WORK/restored.xml" || fail "the old place is in what is defined anew"
virsh start one-restored || fail "what came back to a new place does not start"
readlink /proc/*/fd/* >"$WORK/open" 2>/dev/null || true
grep -qF "$there/base.qcow2" "$WORK/open" || fail "the base image is not the one that came back"
virsh destroy one-restored

expect_status 1 "$UMBRA" restore "$WORK/backup"
expect_output "domain 'one' runs: end it first"
virsh destroy one
virsh undefine one
rm -r "$WORK/v/images"
expect_status 0 "$UMBRA" restore "$WORK/backup"
expect_output "domain 'one' is defined"
fits "$WORK/v/images"
virsh start one || fail "what came back does not start"
virsh destroy one
