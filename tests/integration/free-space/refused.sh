#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test shows volumes of which it is not known what is free, or whose structures contradict themselves: each is refused, and says why.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/free-space.sh"
requires_program mkfs.xfs mkfs.btrfs debugfs xfs_db

# refused IMAGE PATTERN
refused() {
  expect_status 1 "$SHOW" "$1"
  expect_output "$2"
}
# changed IMAGE: a copy to be changed, in COPY
changed() {
  COPY=$WORK/changed.img
  cp --sparse=always "$1" "$COPY"
}

# ---- neither ----
truncate -s 200M "$WORK/empty.img"
refused "$WORK/empty.img" 'neither ext4 nor XFS'
truncate -s 1k "$WORK/tiny.img"
refused "$WORK/tiny.img" 'too small'
mkfs.btrfs -q "$WORK/empty.img" >/dev/null
refused "$WORK/empty.img" 'neither ext4 nor XFS'

# ---- ext4 ----
new_volume ext4 100M -b 4096
EXT4=$VOLUME.img
python3 "$WORK/churn.py" "$VOLUME" 50 200
sync -f "$VOLUME"
changed "$EXT4"
refused "$COPY" 'was in use: its journal is to be replayed'
debugfs -w -R 'feature -needs_recovery' "$COPY" >/dev/null 2>&1
refused "$COPY" 'was in use: its journal is not empty'
end_volume
"$SHOW" "$EXT4" >/dev/null || fail "unmounted, it is refused"

# ext4_changed PATTERN COMMAND: after debugfs has done that
ext4_changed() {
  changed "$EXT4"
  debugfs -w -R "$2" "$COPY" >"$WORK/debugfs" 2>&1
  refused "$COPY" "$1"
}
ext4_changed 'found errors in itself' 'set_super_value state 3'
ext4_changed 'in use, without a journal' 'set_super_value state 0'
ext4_changed 'features that are not known' 'feature FEATURE_R29'
ext4_changed 'unsupported|not known' 'feature FEATURE_I29'
ext4_changed 'does not fit' 'set_super_value blocks_count 1000000'
# Groups: FREE_SPACE_GROUPS_MAX of them are too many (of 256 blocks each), one block less is refused for something else.
for blocks in $((1048576 * 256)) $((1048576 * 256 - 1)); do
  changed "$EXT4"
  truncate -s 1T "$COPY"
  printf 'set_super_value blocks_per_group 256\nset_super_value blocks_count %s\n' "$blocks" >"$WORK/commands"
  debugfs -w -f "$WORK/commands" "$COPY" >"$WORK/debugfs" 2>&1
  refused "$COPY" 'ext4'
  if [ "$blocks" = $((1048576 * 256)) ]; then
    expect_output 'more than 1048576 groups'
  else
    ! grep -q 'more than' "$WORK/output" || fail "as many groups as there may be: $(cat "$WORK/output")"
  fi
done
mkfs.ext4 -q -F -b 4096 -O ^metadata_csum,^uninit_bg "$WORK/plain.img" 100M
changed "$WORK/plain.img"
debugfs -w -R 'set_block_group 0 free_blocks_count 17' "$COPY" >/dev/null 2>&1
refused "$COPY" 'counts 17'
# write_byte OFFSET VALUE: in the copy
write_byte() { printf '%b' "\\x$2" | dd of="$COPY" bs=1 seek="$1" conv=notrunc status=none; }
changed "$EXT4"
bitmap=$(dumpe2fs "$COPY" 2>/dev/null | sed -n 's/.*Block bitmap at \([0-9]*\).*/\1/p' | head -n 1)
write_byte $((bitmap * 4096 + 4)) 00
refused "$COPY" 'checksum of the bitmap of group 0 is wrong'
changed "$EXT4"
write_byte $((4096 + 12)) 77
refused "$COPY" 'ext4: .*(group|superblock)'
changed "$EXT4"
truncate -s 50M "$COPY"
refused "$COPY" 'does not fit'

# ---- XFS ----
new_volume xfs 330M -b size=1024
python3 "$WORK/churn.py" "$VOLUME" 400 1500
end_volume
"$SHOW" "$VOLUME.img" >/dev/null || fail "a whole XFS is refused"
# xfs_changed PATTERN COMMAND...: after xfs_db has done that, checksums corrected
xfs_changed() {
  local pattern=$1 command commands=(); shift
  changed "$VOLUME.img"
  for command; do commands+=(-c "$command"); done
  xfs_db -x "${commands[@]}" "$COPY" >"$WORK/xfs_db" 2>&1 || { cat "$WORK/xfs_db" >&2; fail "xfs_db $*"; }
  refused "$COPY" "$pattern"
}
tree=(-c 'agf 0' -c 'addr bnoroot')
records=$(xfs_db -r "${tree[@]}" -c 'p numrecs' "$VOLUME.img" | sed 's/.*= //')
[ "$records" -ge 4 ] || fail "group 0 has only $records records"
xfs_changed 'waits for a repair' 'version needsrepair' 'sb 0' 'write -d features_incompat 0x1f'
xfs_changed 'features that are not known' 'sb 0' 'write -d features_ro_compat 0x8000'
xfs_changed 'impossible sizes' 'sb 0' 'write -d agblocks 7'
xfs_changed 'log is outside' 'sb 0' 'write -d logblocks 100000000'
xfs_changed 'no header' 'agf 1' 'write -d seqno 2'
xfs_changed 'impossible height' 'agf 1' 'write -d bnolevel 10'
xfs_changed 'counts other free blocks' 'agf 1' 'write -d freeblks 5'
xfs_changed 'counts other free blocks' 'agf 1' 'write -d longest 5'
xfs_changed 'it is outside' 'agf 1' 'write -d bnoroot 100000000'
xfs_changed 'no block of this level' 'agf 1' 'write -d bnolevel 2'
xfs_changed 'impossible number of records' 'agf 0' 'addr bnoroot' 'write -d numrecs 60000'
xfs_changed 'do not ascend' 'agf 0' 'addr bnoroot' 'write -d recs[2].startblock 9'
xfs_changed 'do not ascend' 'agf 0' 'addr bnoroot' 'write -d recs[2].blockcount 0x7fffffff'
xfs_changed "another's" 'agf 0' 'addr bnoroot' 'write -d owner 1'
xfs_changed 'neighbours are others' 'agf 0' 'addr bnoroot' 'write -d leftsib 9'
xfs_changed 'more follows' 'agf 0' 'addr bnoroot' 'write -d rightsib 9'
changed "$VOLUME.img"
write_byte 200 77
refused "$COPY" 'checksum of the superblock'
changed "$VOLUME.img"
truncate -s 200M "$COPY"
refused "$COPY" 'impossible sizes'
