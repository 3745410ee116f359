#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What does tracking cost a volume? 4 KiB random writes a second (fio, io_uring, depth 32, direct) on a loop device, tracked and not, in
# turns: over a disk with direct I/O, and, where a write takes least and tracking weighs most, over memory.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program fio jq

# Many short pairs: the machine drifts by more within a minute than tracking costs.
ROUNDS=${ROUNDS:-41} SECONDS_EACH=${SECONDS_EACH:-1}

# measure NAME DEVICE
measure() {
  local device=$2 a b i
  cat >"$WORK/writes" <<END
fio --name=writes --filename=$device --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --direct=1 --norandommap \
  --runtime=$SECONDS_EACH --time_based --output-format=json | jq '.jobs[0].write.iops'
END
  plain() { bash "$WORK/writes"; }
  tracked() { "$BUILD/tests/track-run" "$device" "bash $WORK/writes"; }
  rm -f "$WORK/plain" "$WORK/tracked" "$WORK/ratios"
  plain >/dev/null
  for ((i = 0; i < ROUNDS; i++)); do
    # Who goes first alternates: what drifts in the machine falls on both.
    if ((i % 2)); then a=$(plain) b=$(tracked); else b=$(tracked) a=$(plain); fi
    echo "$a" >>"$WORK/plain"
    echo "$b" >>"$WORK/tracked"
    ratio "$b" "$a" >>"$WORK/ratios"
  done
  echo "track-cost: $1: $(median <"$WORK/plain") writes/s plain, $(median <"$WORK/tracked") tracked (medians of $ROUNDS)" >&2
  figure "tracking, $1: 4 KiB random writes/s lost, median of $ROUNDS pairs" "$(median <"$WORK/ratios" | awk '{ print (1 - $1) * 100 }')" " %" 2
}

mkdir "$WORK/memory"
mount -t tmpfs -o size=600M umbra-bench "$WORK/memory"; cleanup_fn umount "$WORK/memory"
for directory in "$WORK" "$WORK/memory"; do
  fallocate -l 512M "$directory/disk"
  dd if=/dev/zero of="$directory/disk" bs=1M count=512 conv=notrunc,fsync status=none
done
device=$(losetup --find --show --direct-io=on "$WORK/disk"); cleanup_fn losetup -d "$device"
measure "a disk" "$device"
device=$(losetup --find --show "$WORK/memory/disk"); cleanup_fn losetup -d "$device"
measure memory "$device"
