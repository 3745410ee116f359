#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches volumes with persistent storage, kills both their programs under load, detaches and attaches again: persistent shadow copies
# come back with the same ids and every byte; those of a volume that was changed meanwhile are dropped, loudly; others' storage is refused.
# timeout: 600
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

create() { "$UMBRA" --json create --no-writers "$@" "$WORK/v" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }
image() { echo "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$1"; }
sum() { dd if="$(image "$1")" bs=1M status=none | sha256sum; }
state() { "$UMBRA" --json show "$1" | jq -r '.shadow | .state, (.why // "")' | paste -sd' '; }
# shellcheck disable=SC2120 # by expect_status it gets some
attach() { "$UMBRA" attach --persistent --storage "$WORK/storage" "$@" "$ORIGIN" "$ATTACHED" >/dev/null; }
check_filesystem() {
  if [ "$type" = ext4 ]; then e2fsck -fn "$1" >"$WORK/fsck" 2>&1; else xfs_repair -n "$1" >"$WORK/fsck" 2>&1; fi ||
    { cat "$WORK/fsck" >&2; fail "$2 is damaged"; }
}

mkdir "$WORK/storage"
for type in ext4 xfs; do
  attached_volume v "$type" 400M --front fuse --persistent --storage "$WORK/storage" --limit 200000000
  cp -a "$TOP"/{common,docs} "$WORK/v/"
  dd if=/dev/urandom of="$WORK/v/big" bs=1M count=20 status=none
  one=$(create --persistent)
  volatile=$(create)
  dd if=/dev/urandom of="$WORK/v/big" bs=1M count=10 conv=notrunc,fsync status=none
  two=$(create --persistent)
  rm -rf "$WORK/v/common"
  sync -f "$WORK/v"
  sum_one=$(sum "$one") sum_two=$(sum "$two")

  # Both programs die while the volume is written to. What was acknowledged is on the origin; what is not lost comes back.
  (while :; do dd if=/dev/urandom of="$WORK/v/big" bs=64k count=300 conv=notrunc,fsync status=none || exit 0; done) 2>/dev/null &
  load=$!
  written() { [ "$(attached_status "$ATTACHED" chunks_copied)" -gt 800 ]; }
  wait_for 20 written || fail "nothing is copied"
  kill_both
  wait "$load" || true
  umount -l "$WORK/v"
  [ "$(state "$one")" = "detached its volume is not attached (umbra-attach(8))" ] || fail "state $(state "$one")"
  expect_status 1 "$UMBRA" mount "$one"
  expect_output "cannot be shown: its volume is not attached"
  expect_status 1 "$UMBRA" delete "$one"
  expect_output "it is kept in '$WORK/storage/umbra-$ATTACHED.storage', and its volume '$ATTACHED' is not attached"
  attach
  ! losetup -nlO BACK-FILE | grep -qE "^/shadow-($one|$two|$volatile)" || fail "devices of the dead programs are left"
  [ "$(sum "$one")" = "$sum_one" ] || fail "$type: shadow copy 1 is not what it was"
  [ "$(sum "$two")" = "$sum_two" ] || fail "$type: shadow copy 2 is not what it was"
  [ "$(state "$one")" = "ready " ] || fail "state $(state "$one")"
  state "$volatile" | grep -q '^lost' || fail "one that was not persistent is $(state "$volatile")"
  tree=$("$UMBRA" mount "$one")
  diff -r "$TOP/common" "$tree/common" || fail "$type: shadow copy 1 is not the tree it was"
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  # Mounted shadow copies keep the volume from being detached; others stay in their storage.
  unmount_alone "$WORK/v"
  expect_status 1 "$UMBRA" detach "$ATTACHED"
  expect_output "shadow copy $one is mounted at '$tree': unmount it first"
  "$UMBRA" unmount "$tree"
  "$UMBRA" --quiet delete "$two"
  check_filesystem "/dev/umbra/$ATTACHED" "the volume"
  "$UMBRA" detach "$ATTACHED"
  no_attached_left
  expect_status 1 "$UMBRA" attach --storage "$WORK/storage" "$ORIGIN" "$ATTACHED"
  expect_output "holds the volume's persistent shadow copies: attach with --persistent"
  expect_status 1 attach --limit 100000000
  expect_output "was made for 199999488 bytes: attach without --limit"
  attach
  [ "$(sum "$one")" = "$sum_one" ] || fail "$type: shadow copy 1 is not what it was after a detach"
  [ ! -e "$(image "$two")" ] || fail "$type: one that was deleted came back"

  # It goes on: another one, and the oldest read through it.
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  dd if=/dev/urandom of="$WORK/v/big" bs=1M count=20 conv=notrunc,fsync status=none
  three=$(create --persistent)
  rm "$WORK/v/big"
  sync -f "$WORK/v"
  sum_three=$(sum "$three")
  unmount_alone "$WORK/v"
  "$UMBRA" detach "$ATTACHED"

  # Storage of another volume is refused, and stays as it is.
  truncate -s 200M "$WORK/other.$type"
  other=$(losetup --find --show "$WORK/other.$type")
  cleanup_fn losetup -d "$other"
  expect_status 1 "$UMBRA" attach --persistent --storage "$WORK/storage" "$other" "$ATTACHED"
  expect_output "the storage belongs to a volume of 419430400 bytes, this one has 209715200"
  truncate -s 400M "$WORK/other.$type"
  losetup -c "$other"
  mkfs.ext4 -q -F "$other"
  expect_status 1 "$UMBRA" attach --persistent --storage "$WORK/storage" "$other" "$ATTACHED"
  expect_output "the storage belongs to another volume \('$type "
  attach
  [ "$(sum "$one")$(sum "$three")" = "$sum_one$sum_three" ] || fail "$type: not what they were"
  "$UMBRA" detach "$ATTACHED"

  # Changed behind umbra's back: all are dropped, and everybody is told.
  mount "$ORIGIN" "$WORK/v"
  echo changed >"$WORK/v/changed"
  unmount_alone "$WORK/v"
  expect_status 0 attach
  expect_output "all shadow copies in '$WORK/storage/umbra-$ATTACHED.storage' are dropped: the volume was changed while it was not attached"
  [ "$(state "$one")" = "dropped the volume was changed while it was not attached" ] || fail "state $(state "$one")"
  expect_status 1 "$UMBRA" mount "$three"
  expect_output "was dropped: the volume was changed while it was not attached"
  "$UMBRA" --quiet delete --all
  [ "$(attached_status "$ATTACHED" used_bytes)" = 0 ] || fail "space of dropped shadow copies is not free"
  "$UMBRA" detach "$ATTACHED"
  check_filesystem "$ORIGIN" "the plain device"
  no_attached_left
  rm "$WORK/storage/umbra-$ATTACHED.storage"
  rmdir "$WORK/v"
done
[ -z "$(ls -A "$WORK/storage")" ] || fail "left in the storage"
