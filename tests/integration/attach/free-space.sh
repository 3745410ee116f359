#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test writes into what was free on attached ext4 and XFS volumes when a shadow copy was made, also after a new server took over: hardly
# any storage is used, the shadow copies are what the volume was, and whole; diff tells every range; revert brings the files back.
# timeout: 600
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
. "$(dirname "$0")/../../lib/attached-free-space.sh"
requires_root
requires_program jq python3 filefrag e2fsck xfs_repair

create() { "$UMBRA" --json create --no-writers "$@" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }

mkdir "$WORK/seen"
cleanup_fn umount "$WORK/seen"
for type in ext4 xfs; do
  attached_volume v "$type" 800M --limit 300000000
  for n in 1 2 3 4; do fill "file-$n" 60; done
  cp -a "$TOP"/{common,cow,docs} "$WORK/v/"
  rm "$WORK/v/file-2" "$WORK/v/file-4"
  sync -f "$WORK/v"
  tree_of "$WORK/v" >"$WORK/then.1"

  one=$(create "$WORK/v")
  know_free
  fill new 200
  little "200 MiB written into free space"
  [ "$(attached_status "$ATTACHED" chunks_left_out)" -ge $((180 << 20 >> 14)) ] || fail "$type: not left out"
  told "$one" "$WORK/v/new"
  same "$one" "$WORK/then.1"
  whole "$one"

  # Another server knows the holes and learns the rest anew.
  servers=$(attached_status "$ATTACHED" servers)
  kill -KILL "$(attached_status "$ATTACHED" pid)"
  replaced() { [ "$(attached_status "$ATTACHED" servers)" -gt "$servers" ]; }
  wait_for 30 replaced || fail "$type: no new server"
  know_free
  fill new-too 50
  little "50 MiB more after a new server"
  [ "$(attached_status "$ATTACHED" chunks_left_out)" -ge $((45 << 20 >> 14)) ] || fail "$type: not left out after a new server"
  told "$one" "$WORK/v/new-too"
  same "$one" "$WORK/then.1"

  # One more: what both had free is written.
  rm "$WORK/v/new" "$WORK/v/new-too"
  sync -f "$WORK/v"
  tree_of "$WORK/v" >"$WORK/then.2"
  two=$(create "$WORK/v")
  know_free
  fill newer 250
  little "250 MiB written after a second one"
  told "$two" "$WORK/v/newer"
  same "$one" "$WORK/then.1"
  same "$two" "$WORK/then.2"
  whole "$one"
  whole "$two"

  # What was used is copied like ever.
  before=$(attached_status "$ATTACHED" used_bytes)
  dd if=/dev/urandom of="$WORK/v/file-1" bs=1M count=30 conv=fsync,notrunc status=none
  [ $(($(attached_status "$ATTACHED" used_bytes) - before)) -ge $((29 << 20)) ] || fail "$type: used chunks were not copied"
  same "$one" "$WORK/then.1"
  same "$two" "$WORK/then.2"

  unmount_alone "$WORK/v"
  # Whoever makes a mount namespace just now has the mount in it, for a moment.
  wait_for 60 "$UMBRA" --quiet revert "$one" || fail "$type: revert: $("$UMBRA" revert "$one" 2>&1)"
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  diff "$WORK/then.1" <(tree_of "$WORK/v") || fail "$type: revert did not bring the volume back"
  same "$two" "$WORK/then.2"
  whole "$two"
  unmount_alone "$WORK/v"
  case $type in
    ext4) e2fsck -fn "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 ;;
    xfs) xfs_repair -n "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 ;;
  esac || { cat "$WORK/fsck" >&2; fail "$type: the volume is damaged after revert"; }
  "$UMBRA" --quiet delete --all
  all_is_free() { [ "$(attached_status "$ATTACHED" used_bytes)" = 0 ]; }
  wait_for 30 all_is_free || fail "$type: storage is used for nobody"
  "$UMBRA" detach "$ATTACHED"
  no_attached_left
  rmdir "$WORK/v"
done
