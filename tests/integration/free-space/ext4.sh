#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test freezes ext3 and ext4 of many feature sets while files come and go, and compares what is said to be free with what
# dumpe2fs says; the kernel counts nothing of it as used.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/free-space.sh"

# try FSTYPE SIZE MKFS OPTION...
try() {
  local type=$1 size=$2 round; shift 2
  echo "-- $type $*"
  new_volume "$type" "$size" "$@"
  python3 "$WORK/churn.py" "$VOLUME/quiet" 400 1500
  background python3 "$WORK/churn.py" "$VOLUME/busy" 200
  # After that: what waits for a frozen volume cannot be ended.
  cleanup_fn fsfreeze -u "$VOLUME"
  for round in 1 2; do
    wait_for 60 test -e "$VOLUME/busy/$round"
    fsfreeze -f "$VOLUME"
    "$SHOW" "$VOLUME.img" >"$WORK/ours" || fail "$type $*: not read"
    ranges_of_dumpe2fs "$VOLUME.img" >"$WORK/theirs"
    "$SHOW" --kernel "$VOLUME" >"$WORK/kernel" || fail "the kernel does not say"
    fsfreeze -u "$VOLUME"
    same_ranges "$type $*, round $round"
    # What the kernel has set aside for files that grow is free on the disk.
    python3 - "$WORK/ours" "$WORK/kernel" <<'END' || fail "$type $*: the kernel has free what was not found"
import sys
ours, kernel = ([tuple(map(int, l.split())) for l in open(p)] for p in sys.argv[1:])
assert kernel
for offset, length in kernel:
    assert any(o <= offset and offset + length <= o + l for o, l in ours), (offset, length)
END
  done
  kill_and_wait "$PID"
  end_volume
  rm "$VOLUME.img"
}

try ext4 300M -b 4096
try ext4 300M -b 1024
try ext4 300M -b 4096 -O bigalloc -C 16384
try ext4 300M -b 1024 -O bigalloc,^resize_inode -C 8192
try ext4 600M -b 4096 -O meta_bg,^resize_inode
try ext4 300M -b 1024 -O meta_bg,^resize_inode
try ext4 300M -b 4096 -O ^64bit,^metadata_csum,^flex_bg,uninit_bg
try ext4 300M -b 1024 -O ^metadata_csum,^flex_bg,uninit_bg -g 2048
try ext4 300M -b 4096 -O sparse_super2,^resize_inode,mmp,orphan_file
try ext3 300M -b 1024
# A size that ends within a cluster and within a group.
try ext4 267397k -b 1024 -O bigalloc,^resize_inode -C 16384

# Without a journal nothing on the disk says that it is as in memory: only after it is unmounted.
new_volume ext2 300M -b 4096
python3 "$WORK/churn.py" "$VOLUME" 400 1500
end_volume
"$SHOW" "$VOLUME.img" >"$WORK/ours" || fail "ext2: not read"
ranges_of_dumpe2fs "$VOLUME.img" >"$WORK/theirs"
same_ranges ext2
