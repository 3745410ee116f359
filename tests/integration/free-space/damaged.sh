#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test changes bytes of superblocks, descriptors, bitmaps and free-space trees at random: each visit ends without a crash and in time,
# names only ranges within the volume, and most changes are noticed.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/free-space.sh"
requires_program mkfs.xfs

# damage IMAGE RUNS: on an image that nobody uses; adds to REFUSED
REFUSED=0
damage() {
  local out
  out=$(timeout -s KILL 300 "$BUILD/tests/fuzz-free-space" "$1" 1 "$2") || fail "status $? in fuzz-free-space $1 1 $2"
  echo "$out"
  out=${out#*, }
  REFUSED=$((REFUSED + ${out% refused}))
}
# try FSTYPE RUNS MKFS OPTION...
try() {
  local type=$1 runs=$2; shift 2
  echo "-- $type $*"
  new_volume "$type" 330M "$@"
  python3 "$WORK/churn.py" "$VOLUME" 400 1500
  end_volume
  damage "$VOLUME.img" "$runs"
  rm "$VOLUME.img"
}

try ext4 500 -b 4096
try ext4 500 -b 1024 -O ^metadata_csum,uninit_bg
try ext4 500 -b 4096 -O ^metadata_csum,bigalloc -C 16384
try ext2 500 -b 1024
try xfs 500 -b size=1024
truncate -s 330M "$WORK/version-4.img"
if mkfs.xfs -q -m crc=0 -b size=1024 "$WORK/version-4.img" 2>/dev/null; then damage "$WORK/version-4.img" 500; fi
# Without checksums many changes mean nothing.
[ "$REFUSED" -ge 1500 ] || fail "only $REFUSED were noticed"
