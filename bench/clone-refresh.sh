#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How much faster is refreshing a kept clone after 1 % of a volume with 10 GiB changed than the first copy?
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program fio

GIBIBYTES=${GIBIBYTES:-10} ROUNDS=${ROUNDS:-3}
make_volume v ext4 "$((GIBIBYTES + 1))G"
losetup --direct-io=on "$DEVICE"
mkdir "$WORK/storage"
cleanup_fn drop_kept
drop_kept() {
  rm -rf "$WORK/storage"; mkdir -p "$WORK/storage"
  # Any clone removed ends the tracking of kept images that are gone.
  echo '{}' >"$WORK/empty"; "$BUILD/tests/provider-drive" --remove clone "$WORK/empty"
}
dd if=/dev/urandom of="$WORK/v/data" bs=1M count="$((GIBIBYTES * 1024))" oflag=direct status=none
sync -f "$WORK/v"
clone() { "$BUILD/tests/provider-drive" --named clone "$WORK/v" "$WORK/storage" >"$WORK/record" 2>"$WORK/log"; }
milliseconds clone >"$WORK/first"
for ((i = 0; i < ROUNDS; i++)); do
  # 1 %, in places of 64 KiB.
  fio --name=change --filename="$WORK/v/data" --rw=randwrite --bs=64k --ioengine=io_uring --iodepth=8 --direct=1 --randseed="$i" \
    --size="${GIBIBYTES}G" --io_size="$((GIBIBYTES * 1024 / 100))M" --output=/dev/null
  sync -f "$WORK/v"
  milliseconds clone >>"$WORK/refresh"
done
echo "clone-refresh: first $(cat "$WORK/first") ms, refresh $(median <"$WORK/refresh") ms" >&2
figure "clone: refresh after 1 % of $GIBIBYTES GiB changed against the first copy" "$(ratio "$(cat "$WORK/first")" "$(median <"$WORK/refresh")")" " times" 30 more
