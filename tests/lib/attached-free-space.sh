# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after attached.sh by tests of what was free when a shadow copy was made. $type is the filesystem's, $ATTACHED the volume at $WORK/v,
# $WORK/seen a directory.
# shellcheck shell=bash disable=SC2154

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
    # What XFS reserved behind the file's end was not written.
    if (m := re.match(r"\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+)\.\.\s*(\d+):", line)) and "unwritten" not in line:
        extents += 1
        assert set(range(int(m[1]), int(m[2]) + 1)) <= said, m[0]
assert extents
END
}
