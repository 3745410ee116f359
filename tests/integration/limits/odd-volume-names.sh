#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes shadow copies of volumes whose names are no text: a btrfs subvolume, mount points, a storage directory, the source of a
# tmpfs. Each is listed, mounted, backed up and deleted, and --oldest finds it.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq
cleanup_fn "$UMBRA" delete --all

odd=$'odd\xff\n\\name'
make_volume v btrfs 128M
btrfs subvolume create "$WORK/v/$odd" >/dev/null
echo content >"$WORK/v/$odd/file"
mkdir "$WORK/$odd" "$WORK/storage-$odd" "$WORK/memory"
cleanup_fn umount "$WORK/$odd"
mount -o subvol="$odd" "$DEVICE" "$WORK/$odd"
cleanup_fn umount "$WORK/memory"
mount -t tmpfs "$odd" "$WORK/memory"
echo content >"$WORK/memory/file"

# try VOLUME OPTION...
try() {
  local document id tree
  document=$("$UMBRA" create --quiet --json --no-writers "${@:2}" "$1") || fail "create ${*:2}"
  id=$(jq -r '.set.shadows[0].id' <<<"$document") || fail "create ${*:2} made a set without a shadow copy: $document"
  "$UMBRA" list shadows --json | jq -e --arg id "$id" '.shadows[] | select(.id == $id) | .state == "ready"' >/dev/null || fail "list after ${*:2}"
  tree=$("$UMBRA" mount "$id") || fail "mount of ${*:2}"
  [ "$(cat "$tree/file")" = content ] || fail "content of ${*:2}"
  expect_status 0 "$UMBRA" unmount "$id"
  "$UMBRA" list storage --json | jq -e '[.storage[].size_bytes > 0] | all' >/dev/null || fail "a storage is not found: $("$UMBRA" list storage)"
  expect_status 0 "$UMBRA" delete --oldest "$1"
  [ "$("$UMBRA" list sets --json | jq '.sets | length')" = 0 ] || fail "a set is left of ${*:2}"
}
try "$WORK/$odd"
try "$WORK/$odd" --provider files --storage "$WORK/storage-$odd"
try "$WORK/$odd" --provider null
try "$WORK/memory"
[ "$("$UMBRA" list volumes --json | jq '[.volumes[] | select(.volume | contains("odd"))] | length')" = 1 ] || fail "list volumes"
[ "$("$UMBRA" run --quiet --no-writers --of "$WORK/$odd" -- cat "$WORK/$odd/file")" = content ] || fail "run"
expect_status 0 "$UMBRA" backup --no-writers "$WORK/$odd" --to "$WORK/backup-$odd"
expect_status 0 "$UMBRA" restore "$WORK/backup-$odd" --to "$WORK/out"
[ "$(cat "$WORK/out$WORK/$odd/file")" = content ] || fail "restore"
rmdir "$WORK/storage-$odd"/* 2>/dev/null || true
