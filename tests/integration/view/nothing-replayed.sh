#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test shows images with dirty journals: they are read as they are, and not a byte of them changes; ext2, ext4 and XFS,
# sectors of 512 and 4096 bytes, beside the live filesystem with the same UUID.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq losetup fsfreeze xfs_logprint dumpe2fs

# dirty_image NAME: the image of the mounted volume without a freeze, so with its journal in use
dirty_image() { sync -f "$WORK/$1" && cp --sparse=always "$WORK/$1.img" "$WORK/$1.shadow"; }

# check NAME FSTYPE SECTOR_BYTES: reading all of it changes nothing
check() {
  cp --sparse=always "$WORK/$1.shadow" "$WORK/untouched"
  plan "$(image_plan "$1" "$2" "$3")"
  [ "$(view_run -- sh -c "cat '$WORK/$1/file'; find '$WORK/$1' -type f -exec cat {} + >/dev/null 2>&1; true")" = old ] ||
    fail "$1: the shadow copy does not show the file"
  expect_status 0 view_run -- sh -c "! touch '$WORK/$1/x'"
  jq '{view: .[0].view}' "$WORK/plan" >"$WORK/record"
  mkdir -p "$WORK/shown"
  cleanup_fn umount "$WORK/shown"
  "$VIEW_RUN" --attach "$WORK/record" "$WORK/shown" >"$WORK/device"
  [ "$(blockdev --getss "$(cat "$WORK/device")")" = "$3" ] || fail "$1: the loop device's sectors are not of $3 bytes"
  [ "$(blockdev --getro "$(cat "$WORK/device")")" = 1 ] || fail "$1: the loop device can be written"
  if mount -o remount,rw "$WORK/shown" 2>/dev/null; then fail "$1: could be made writable"; fi
  "$VIEW_RUN" --detach "$WORK/shown"
  expect_gone "$WORK/$1.shadow"
  cmp "$WORK/$1.shadow" "$WORK/untouched" || fail "$1: the image was written to"
}

make_volume plain ext2 32M
make_volume journal ext4 64M
make_volume log xfs 320M
truncate -s 64M "$WORK/big.img"
mkfs.ext4 -q -F -b 4096 "$WORK/big.img"
mkdir "$WORK/big"
BIG=$(losetup --find --show --sector-size 4096 "$WORK/big.img")
cleanup_fn losetup -d "$BIG"
cleanup_fn umount "$WORK/big"
mount "$BIG" "$WORK/big"

for v in plain journal log big; do
  echo old >"$WORK/$v/file"
  # Now it is where it belongs, and not just in the journal, which nobody will replay.
  fsfreeze -f "$WORK/$v"
  fsfreeze -u "$WORK/$v"
  for i in {1..50}; do echo "$i" >"$WORK/$v/$i"; done
done
for v in plain journal log big; do dirty_image $v; done
dumpe2fs -h "$WORK/journal.shadow" 2>/dev/null | grep needs_recovery >"$WORK/log-state" || fail "the ext4 journal is not dirty: nothing is proven"
xfs_logprint -t "$WORK/log.shadow" 2>&1 | grep "<DIRTY>" >"$WORK/log-state" || fail "the XFS log is not dirty: nothing is proven"
for v in plain journal log big; do echo new >"$WORK/$v/file"; done

check plain ext2 512
check journal ext4 512
check journal ext3 512
check log xfs 512
check big ext4 4096

# What cannot be shown says why and leaves nothing.
head -c 1M /dev/urandom >"$WORK/noise.shadow"
mkdir "$WORK/noise"
mount -t tmpfs none "$WORK/noise"
for type in ext4 xfs nosuchfs; do
  plan "$(image_plan noise "$type")"
  expect_status 125 view_run -- true
  expect_output "shadow copy of '$WORK/noise': mounting the image '$WORK/noise.shadow'"
  expect_gone "$WORK/noise.shadow"
done
plan "$(image_plan noise ext4 1000)"
expect_status 125 view_run -- true
rm "$WORK/noise.shadow"
expect_status 125 view_run -- true
