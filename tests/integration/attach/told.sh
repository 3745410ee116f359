#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets shadow copies of attached volumes come to harm (storage full, storage that fails, a server that does not answer, both programs
# killed, the name taken anew) and asks about them: list, show, doctor say what became of them and why; mount, diff and revert refuse with the
# reason; deleting works. And what a provider cannot do is told to who asked for it.
# timeout: 240
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r ".set.shadows[0].id"; }
fill() { dd if=/dev/urandom of="$WORK/v/$1" bs=1M count="$2" conv=notrunc,fsync status=none; }

# told ID STATE WHY: every command says so
told() {
  "$UMBRA" --json list >"$WORK/list"
  [ "$(jq -r ".shadows[] | select(.id == \"$1\") | .state" "$WORK/list")" = "$2" ] || fail "list --json does not say $2: $(cat "$WORK/list")"
  jq -r ".shadows[] | select(.id == \"$1\").why" "$WORK/list" | grep -qE "$3" || fail "list --json does not say why: $(cat "$WORK/list")"
  "$UMBRA" list | grep -E "^$1 .* $2: .*$3" >/dev/null || fail "list does not say '$2: $3': $("$UMBRA" list)"
  "$UMBRA" show "$1" >"$WORK/show"
  grep -q "^ *state: $2$" "$WORK/show" && grep -qE "^ *why: .*$3" "$WORK/show" || fail "show does not say it: $(cat "$WORK/show")"
  [ "$("$UMBRA" --json show "$1" | jq -r .shadow.state)" = "$2" ] || fail "show --json does not say $2"
}

# unusable ID WORD WHY: it is refused with the reason
unusable() {
  local verb
  for verb in mount diff revert; do
    expect_status 1 "$UMBRA" "$verb" "$1"
    expect_output "umbra: .*: shadow copy $1 (was|is) $2: .*$3.* \(it can only be deleted\)"
  done
}
state() { "$UMBRA" --json show "$1" | jq -r .shadow.state; }

# ---- an attached volume, as doctor and the lists tell of it
attached_volume v ext4 300M --front fuse --limit 67108864
fill a 60
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor"
grep -qF "attached as $ATTACHED (origin $ORIGIN, front fuse), shadow copies 0 of 512, storage 0 B of 64.0 MiB in '$UMBRA_STATE_DIR', 300.0 MiB" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
grep -qE '^    cow +usable, not for --persistent$' "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
grep -qE '^  provider: +cow$' "$WORK/doctor" || fail "$(cat "$WORK/doctor")"

# ---- what was asked for and cannot be had
expect_status 1 "$UMBRA" create --no-writers --persistent --provider cow "$WORK/v"
expect_output "provider cow cannot make a shadow copy of '$WORK/v': its shadow copies are not persistent"
expect_status 0 "$UMBRA" create --no-writers --persistent "$WORK/v"
expect_output "volume '$WORK/v': provider cow is passed over, since its shadow copies are not persistent: the volume was attached without --persistent; clone makes the shadow copy"
"$UMBRA" --quiet delete --all
expect_status 0 "$UMBRA" create --no-writers "$WORK/v"
! grep -q 'warning' "$WORK/output" || fail "a warning without a cause: $(cat "$WORK/output")"
"$UMBRA" --quiet delete --all
for option in "--storage $WORK/nowhere" "--storage-max 10M"; do
  # shellcheck disable=SC2086
  expect_status 0 "$UMBRA" create --no-writers --provider cow $option "$WORK/v"
  expect_output "volume '$WORK/v': --storage is not for provider cow: its shadow copies lie in the storage that was chosen when the volume was attached"
  [ ! -e "$WORK/nowhere" ] || fail "a directory was made for nothing"
  "$UMBRA" --quiet delete --all
done

# ---- dropped: the storage is full
old=$(create)
fill a 30
new=$(create)
[ "$(state "$old"),$(state "$new")" = ready,ready ] || fail "they are not ready"
fill a 45
told "$old" dropped "the storage is full"
[ "$(state "$new")" = ready ] || fail "the newer one is $(state "$new")"
unusable "$old" dropped "the storage is full"
expect_status 1 "$UMBRA" diff "$old" "$new"
expect_output "shadow copy $old was dropped: the storage is full"
expect_status 0 "$UMBRA" diff "$new"
"$UMBRA" doctor "$WORK/v" | grep -qF "shadow copies 2 of 512 (1 of them dropped), storage " || fail "$("$UMBRA" doctor "$WORK/v")"
"$UMBRA" list volumes | grep -F "$WORK/v " | grep -qF "attached as $ATTACHED (origin $ORIGIN, front fuse), shadow copies 2 of 512" || fail "$("$UMBRA" list volumes)"
"$UMBRA" --json list volumes | jq -e ".volumes[] | select(.volume == \"$WORK/v\").attached | .shadows == 1 and .dropped == 1 and .shadows_max == 512 and .limit_bytes == 67108864 and .name == \"$ATTACHED\"" >/dev/null ||
  fail "$("$UMBRA" --json list volumes)"
"$UMBRA" --json list storage 2>/dev/null >"$WORK/storage" || true
[ "$(jq ".storage[] | select(.attached == \"$ATTACHED\").shadows" "$WORK/storage")" = 1 ] || fail "$(cat "$WORK/storage")"
[ "$(jq '[.storage[].shadows] | add' "$WORK/storage")" = 1 ] || fail "a shadow copy counts twice: $(cat "$WORK/storage")"
"$UMBRA" delete "$old"
"$UMBRA" --json list | jq -e "[.shadows[].id] == [\"$new\"]" >/dev/null || fail "the dropped one is still listed"
"$UMBRA" doctor "$WORK/v" | grep -qF "shadow copies 1 of 512, storage " || fail "$("$UMBRA" doctor "$WORK/v")"
"$UMBRA" delete "$new"

# ---- unknown: a server that does not answer. Neither lost nor refused: it may be back any moment.
id=$(create)
server=$(attached_status "$ATTACHED" pid)
kill -STOP "$server"
cleanup_fn kill -CONT "$server"
"$UMBRA" --json list >"$WORK/list"
kill -CONT "$server"
jq -e '.shadows[0] | .state == "unknown" and (.why | test("the volume.s server did not answer within 3 s"))' "$WORK/list" >/dev/null || fail "$(cat "$WORK/list")"
[ "$(state "$id")" = ready ] || fail "it is $(state "$id") when the server answers"

# ---- lost: both programs are killed at once
device=$(readlink -f "/dev/umbra/$ATTACHED")
tree=$("$UMBRA" mount "$id")
mounts=$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt
both_die() {
  local both
  both="$(attached_status "$ATTACHED" pid) $(attached_status "$ATTACHED" supervisor_pid)"
  # shellcheck disable=SC2086
  kill -STOP $both
  # shellcheck disable=SC2086
  kill -KILL $both
  # shellcheck disable=SC2086
  gone() { ! kill -0 $both; }
  wait_for 20 gone || fail "they do not die"
}
sync -f "$WORK/v"
both_die
told "$id" lost "its volume '$ATTACHED' is not attached any more, and its shadow copies went with it"
unusable "$id" lost "not attached any more"
status=0
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor" || status=$?
grep -q "attached as $ATTACHED, but cannot be asked: no volume is attached at" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
grep -q "cow *not usable: it was attached as '$ATTACHED', but both its programs are gone: attach it again (with front fuse, unmount it first)" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
"$UMBRA" delete "$id"
"$UMBRA" --json list | jq -e '.shadows == []' >/dev/null || fail "the lost one is still listed"
! grep -qF " $tree " /proc/mounts || fail "the lost one is still mounted"
! losetup -nlO BACK-FILE | grep -q "shadow-$id" || fail "the lost one's device is left"
unmount_alone "$WORK/v"
losetup -d "$device"

# ---- the name is taken anew: what is there now is not what the catalogue means. One set, two volumes: one lost, one whole.
"$UMBRA" attach --limit 67108864 "$ORIGIN" "$ATTACHED" >/dev/null
mount "/dev/umbra/$ATTACHED" "$WORK/v"
first=$ATTACHED first_origin=$ORIGIN
attached_volume w ext4 100M
set=$("$UMBRA" --json create --no-writers "$WORK/v" "$WORK/w" | jq -r .set.id)
id=$("$UMBRA" --json show "$set" | jq -r ".set.shadows[] | select(.volume == \"$WORK/v\").id")
other=$("$UMBRA" --json show "$set" | jq -r ".set.shadows[] | select(.volume == \"$WORK/w\").id")
second=$ATTACHED
ATTACHED=$first
device=$(readlink -f "/dev/umbra/$ATTACHED")
unmount_alone "$WORK/v"
both_die
losetup -d "$device"
for device in $(losetup -nlO NAME,BACK-FILE | awk -v d="$mounts/shadow-" 'index($2, d) == 1 { print $1 }'); do losetup -d "$device"; done
"$UMBRA" attach "$first_origin" "$ATTACHED" >/dev/null
told "$id" lost "the volume's server does not have it"
[ "$(state "$other")" = ready ] || fail "the other volume's is $(state "$other")"
[ "$("$UMBRA" --json show "$set" | jq -r .set.state)" = incomplete ] || fail "the set is not said to be incomplete"
"$UMBRA" list sets | grep -q incomplete || fail "$("$UMBRA" list sets)"
"$UMBRA" delete "$set"
unmount_alone "$WORK/w"
"$UMBRA" detach "$first"
"$UMBRA" detach "$second"
no_attached_left

# ---- dropped: the storage fails
mkdir "$WORK/small"
cleanup_fn umount "$WORK/small"
mount -t tmpfs -o size=24M none "$WORK/small"
truncate -s 100M "$WORK/small/storage"
STORAGE=$(losetup --find --show "$WORK/small/storage")
cleanup_fn losetup -d "$STORAGE"
rmdir "$WORK/v"
attached_volume v ext4 300M --storage "$STORAGE" --limit 104857600
fill a 60
id=$(create)
fill a 60 || fail "the live volume did not go on"
told "$id" dropped "old data could not be stored: (No space left on device|Input/output error)"
unusable "$id" dropped "old data could not be stored"
"$UMBRA" delete "$id"
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
no_attached_left
