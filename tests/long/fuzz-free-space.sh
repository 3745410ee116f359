#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test fuzzes the readers of free space with coverage by libFuzzer, under the address and undefined behaviour sanitizers, for
# UMBRA_FUZZ_SECONDS (default 60) each on ext4 and XFS images, without checksums where that can be had, so that changes get far.
# timeout: 900
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/free-space.sh"
requires_program clang pkg-config mkfs.xfs

seconds=${UMBRA_FUZZ_SECONDS:-60}
read -ra libraries < <(pkg-config --cflags --libs ext2fs com_err)
cd "$TOP"
clang -std=gnu17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
  -I. -Iinclude -o "$WORK/fuzz-free-space" tests/fuzz/fuzz-free-space.c cow/free-space/*.c volume/ext2-reader.c \
  common/bitmap.c common/error.c "${libraries[@]}" || fail "the fuzzer was not built"
cd "$WORK"
# fuzz NAME IMAGE
fuzz() {
  mkdir -p "corpus-$1"
  UMBRA_FUZZ_IMAGE=$2 ./fuzz-free-space -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=256 \
    -print_final_stats=1 "corpus-$1" >"fuzz-$1" 2>&1 || { tail -n 60 "fuzz-$1"; fail "$1: see above"; }
  grep -E 'number_of_executed_units|^#.*DONE' "fuzz-$1"
}
new_volume ext4 64M -b 1024 -O ^metadata_csum,uninit_bg
python3 churn.py "$VOLUME" 200 1000
end_volume
fuzz ext4 "$VOLUME.img"
rm "$VOLUME.img"
new_volume ext4 64M -b 4096 -O ^metadata_csum,bigalloc -C 16384
end_volume
fuzz ext4-bigalloc "$VOLUME.img"
rm "$VOLUME.img"
new_volume xfs 330M -b size=1024
python3 churn.py "$VOLUME" 200 1000
end_volume
fuzz xfs "$VOLUME.img"
rm "$VOLUME.img"
truncate -s 330M version-4.img
if mkfs.xfs -q -m crc=0 -b size=1024 version-4.img 2>/dev/null; then fuzz xfs-4 "$WORK/version-4.img"; fi
