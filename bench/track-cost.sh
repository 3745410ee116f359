#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What does tracking cost a volume? 4 KiB random writes a second (fio, io_uring, depth 32, direct) on a loop device with direct I/O,
# tracked and not, in turns.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program fio jq

ROUNDS=${ROUNDS:-15} SECONDS_EACH=${SECONDS_EACH:-2}
fallocate -l 512M "$WORK/disk"
dd if=/dev/zero of="$WORK/disk" bs=1M count=512 conv=notrunc,fsync status=none
device=$(losetup --find --show --direct-io=on "$WORK/disk"); cleanup_fn losetup -d "$device"
cat >"$WORK/writes" <<END
fio --name=writes --filename=$device --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --direct=1 --norandommap \
  --runtime=$SECONDS_EACH --time_based --output-format=json | jq '.jobs[0].write.iops'
END
plain() { bash "$WORK/writes"; }
tracked() { "$BUILD/tests/track-run" "$device" "bash $WORK/writes"; }
plain >/dev/null
for ((i = 0; i < ROUNDS; i++)); do
  # Who goes first alternates: what drifts in the machine falls on both.
  if ((i % 2)); then a=$(plain) b=$(tracked); else b=$(tracked) a=$(plain); fi
  echo "$a" >>"$WORK/plain"
  echo "$b" >>"$WORK/tracked"
  ratio "$b" "$a" >>"$WORK/ratios"
done
echo "track-cost: $(median <"$WORK/plain") writes/s plain, $(median <"$WORK/tracked") tracked (medians of $ROUNDS)" >&2
figure "tracking: 4 KiB random writes/s lost, median of $ROUNDS pairs" "$(median <"$WORK/ratios" | awk '{ print (1 - $1) * 100 }')" " %" 2
