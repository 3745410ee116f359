#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test writes into what was free on attached ext4 and XFS volumes when a persistent shadow copy was made, and kills both their programs: hardly any
# storage is used, before and after; attached again, the shadow copy is what the volume was, and whole; diff tells every range that was written into.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
. "$(dirname "$0")/../../lib/attached-free-space.sh"
requires_root
requires_program jq python3 filefrag e2fsck xfs_repair

create() { "$UMBRA" --json create --no-writers --persistent "$@" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }
attach_again() { "$UMBRA" --quiet attach --persistent --storage "$WORK/storage" "$ORIGIN" "$ATTACHED" >/dev/null; }

mkdir "$WORK/seen" "$WORK/storage"
cleanup_fn umount "$WORK/seen"
for type in ext4 xfs; do
  attached_volume v "$type" 800M --front fuse --persistent --storage "$WORK/storage" --limit 300000000
  for n in 1 2 3; do fill "file-$n" 60; done
  cp -a "$TOP"/{common,cow,docs} "$WORK/v/"
  rm "$WORK/v/file-2"
  sync -f "$WORK/v"
  tree_of "$WORK/v" >"$WORK/then"
  one=$(create "$WORK/v")
  know_free
  fill new 200
  little "200 MiB written into free space"
  [ "$(attached_status "$ATTACHED" chunks_left_out)" -ge $((180 << 20 >> 14)) ] || fail "$type: not left out"
  told "$one" "$WORK/v/new"
  same "$one" "$WORK/then"

  kill_both
  umount -l "$WORK/v"
  attach_again
  little "after both programs died"
  same "$one" "$WORK/then"
  whole "$one"
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  told "$one" "$WORK/v/new"

  # What is free in it is learned from it once more.
  know_free
  fill new-too 100
  little "100 MiB more"
  told "$one" "$WORK/v/new-too"
  dd if=/dev/urandom of="$WORK/v/file-1" bs=1M count=30 conv=fsync,notrunc status=none
  unmount_alone "$WORK/v"
  "$UMBRA" --quiet detach "$ATTACHED"
  no_attached_left
  attach_again
  same "$one" "$WORK/then"
  whole "$one"

  wait_for 60 "$UMBRA" --quiet revert "$one" || fail "$type: revert: $("$UMBRA" revert "$one" 2>&1)"
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  diff "$WORK/then" <(tree_of "$WORK/v") || fail "$type: revert did not bring the volume back"
  unmount_alone "$WORK/v"
  "$UMBRA" --quiet delete --all
  "$UMBRA" --quiet detach "$ATTACHED"
  expect_status 0 "$UMBRA" storage check "$WORK/storage/umbra-$ATTACHED.storage"
  no_attached_left
  rm "$WORK/storage/umbra-$ATTACHED.storage"
  rmdir "$WORK/v"
done
