#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test fuzzes the scope walk with coverage by libFuzzer, under the address and undefined behaviour sanitizers, for UMBRA_FUZZ_SECONDS
# (default 60) each on an ext4 and an XFS image.
# timeout: 900
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"
requires_program clang pkg-config

seconds=${UMBRA_FUZZ_SECONDS:-60}
read -ra libraries < <(pkg-config --cflags --libs ext2fs com_err)
cd "$TOP"
clang -std=gnu17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
  -I. -Iinclude -o "$WORK/fuzz-scope" tests/fuzz/fuzz-scope.c providers/clone/scope*.c volume/ext2-reader.c \
  common/bitmap.c common/error.c "${libraries[@]}" ||
  fail "the fuzzer was not built"
cd "$WORK"
for type in ext4 xfs; do
  case $type in
    ext4) scope_make ext4 64M "150 60000 900 50" -b 4096 -O ea_inode,inline_data,^metadata_csum -I 256 ;;
    xfs) scope_make xfs 330M "150 20000 900 50" -b size=1024 ;;
  esac
  umount "$WORK/source"
  mkdir -p "corpus-$type"
  UMBRA_FUZZ_IMAGE=$SOURCE UMBRA_FUZZ_FILESYSTEM=$type ./fuzz-scope -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=257 \
    -print_final_stats=1 "corpus-$type" >"fuzz-$type" 2>&1 || { tail -n 60 "fuzz-$type"; fail "$type: see above"; }
  grep -E 'number_of_executed_units|^#.*DONE' "fuzz-$type"
  rm "$SOURCE"
done
