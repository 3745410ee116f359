#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test freezes XFS while files come and go and compares what its free-space trees on the disk say with what the kernel says of them:
# freezing brings every block of the trees to its place.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/free-space.sh"
requires_program mkfs.xfs xfs_db

# try ROUNDS SIZE CHURN MKFS OPTION...
try() {
  local rounds=$1 size=$2 churn=$3 round; shift 3
  echo "-- $*"
  new_volume xfs "$size" "$@"
  python3 "$WORK/churn.py" "$VOLUME/quiet" "$churn" $((churn * 4))
  background python3 "$WORK/churn.py" "$VOLUME/busy" 200
  # After that: what waits for a frozen volume cannot be ended.
  cleanup_fn fsfreeze -u "$VOLUME"
  for ((round = 1; round <= rounds; round++)); do
    wait_for 60 test -e "$VOLUME/busy/$round"
    fsfreeze -f "$VOLUME"
    "$SHOW" "$VOLUME.img" >"$WORK/ours" || fail "$*: not read"
    "$SHOW" --kernel "$VOLUME" >"$WORK/theirs" || fail "the kernel does not say"
    fsfreeze -u "$VOLUME"
    same_ranges "$*, round $round"
  done
  kill_and_wait "$PID"
  end_volume
  # By another reader, too.
  "$SHOW" "$VOLUME.img" >"$WORK/ours" || fail "$*: not read after umount"
  ranges_of_xfs_db "$VOLUME.img" >"$WORK/theirs"
  same_ranges "$*, by xfs_db"
  rm "$VOLUME.img"
}

try 5 330M 400
try 5 330M 400 -m rmapbt=1,reflink=1 -i sparse=1
try 2 330M 400 -s size=4096
# Blocks of 1 KiB and every second one of a file given back: trees of two levels.
fragmented() {
  python3 - "$1" <<'END'
import ctypes, os, sys
fd = os.open(sys.argv[1] + "/punched", os.O_RDWR | os.O_CREAT)
for i in range(40):
    os.write(fd, b"x" * (1 << 20))
os.fsync(fd)
libc = ctypes.CDLL(None, use_errno=True)
for i in range(0, 40 << 10, 2):
    if libc.fallocate(fd, 3, ctypes.c_int64(i << 10), ctypes.c_int64(1024)):
        sys.exit(os.strerror(ctypes.get_errno()))
END
}
new_volume xfs 330M -b size=1024 -d agcount=2
fragmented "$VOLUME"
cleanup_fn fsfreeze -u "$VOLUME"
fsfreeze -f "$VOLUME"
"$SHOW" "$VOLUME.img" >"$WORK/ours"
"$SHOW" --kernel "$VOLUME" >"$WORK/theirs"
fsfreeze -u "$VOLUME"
same_ranges "fragmented"
[ "$(wc -l <"$WORK/theirs")" -gt 15000 ] || fail "only $(wc -l <"$WORK/theirs") free ranges"
end_volume
highest=$(for group in 0 1; do xfs_db -r -c "agf $group" -c 'p bnolevel' "$VOLUME.img" | sed 's/.*= //'; done | sort -n | tail -n 1)
[ "$highest" -ge 2 ] || fail "the tree has only $highest levels"

# Version 4, which many kernels no longer mount.
truncate -s 330M "$WORK/version-4.img"
if mkfs.xfs -q -m crc=0 "$WORK/version-4.img" >"$WORK/mkfs" 2>&1; then
  "$SHOW" "$WORK/version-4.img" >"$WORK/ours" || fail "version 4 was not read"
  ranges_of_xfs_db "$WORK/version-4.img" >"$WORK/theirs"
  same_ranges "version 4"
else
  grep -q 'crc=0' "$WORK/mkfs" || { cat "$WORK/mkfs" >&2; fail "mkfs.xfs"; }
  echo "this mkfs.xfs makes no version 4 any more"
fi
