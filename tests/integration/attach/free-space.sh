#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test writes into what was free on attached ext4 and XFS volumes when a shadow copy was made, also after a new server took over: hardly
# any storage is used, the shadow copies are what the volume was, and whole; diff tells every range; revert brings the files back.
# timeout: 600
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3 filefrag e2fsck xfs_repair

create() { "$UMBRA" --json create --no-writers "$@" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }
tree_of() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }
free_is_known() { [ "$(attached_status "$ATTACHED" free_known)" = True ]; }
know_free() { wait_for 60 free_is_known || fail "$type: what is free was not learned"; }
# fill NAME MEGABYTES
fill() { dd if=/dev/urandom of="$WORK/v/$1" bs=1M count="$2" conv=fsync status=none; }
# little WHAT: at most this much of the storage is used: journal, bitmaps, directories
USED_BYTES_MAX=$((24 << 20))
little() {
  local used
  used=$(attached_status "$ATTACHED" used_bytes)
  echo "$type: $1: $used bytes of storage"
  [ "$used" -le "$USED_BYTES_MAX" ] || fail "$type: $1: $used bytes of storage are used"
}
# whole ID: the filesystem in a shadow copy is one
whole() {
  cp --sparse=always "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$1" "$WORK/copy.img"
  if [ "$type" = ext4 ]; then
    e2fsck -fn "$WORK/copy.img" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "$type: shadow copy $1 is damaged"; }
  else
    # Frozen, an XFS has something left in its log: mounting does away with it.
    mount -o loop,nouuid "$WORK/copy.img" "$WORK/seen"
    umount "$WORK/seen"
    xfs_repair -n "$WORK/copy.img" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "$type: shadow copy $1 is damaged"; }
  fi
  rm "$WORK/copy.img"
}
# same ID TREE: its files are those
same() {
  local tree
  tree=$("$UMBRA" mount "$1")
  diff "$2" <(tree_of "$tree") || fail "$type: shadow copy $1 is not what the volume was"
  "$UMBRA" unmount "$tree"
}
# told ID FILE: diff since that one has every block of the file
told() {
  "$UMBRA" diff "$1" >"$WORK/diff"
  filefrag -v -b512 "$2" >"$WORK/extents"
  python3 - "$WORK/diff" "$WORK/extents" <<'END' || fail "$type: diff does not have all of $2"
import re, sys
said, extents = set(), 0
for line in open(sys.argv[1]):
    offset, length = map(int, line.split())
    said.update(range(offset // 512, (offset + length) // 512))
for line in open(sys.argv[2]):
    if m := re.match(r"\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+)\.\.\s*(\d+):", line):
        extents += 1
        assert set(range(int(m[1]), int(m[2]) + 1)) <= said, m[0]
assert extents
END
}

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
