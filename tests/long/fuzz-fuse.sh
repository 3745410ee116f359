#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test fuzzes the FUSE front, with coverage by libFuzzer, under the address and undefined behaviour sanitizers, for
# UMBRA_FUZZ_SECONDS (default 60).
# timeout: 900
. "$(dirname "$0")/../lib/functions.sh"
requires_program clang pkg-config

read -ra libraries < <(pkg-config --cflags --libs libxxhash)
cd "$TOP"
clang -std=gnu17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
  -I. -Iinclude -o "$WORK/fuzz-fuse" tests/fuzz/fuzz-fuse.c tests/lib/fuse-session.c cow/*.c cow/front/fuse.c \
  common/bitmap.c common/clock.c common/error.c common/fd.c -laio -pthread "${libraries[@]}" || fail "the fuzzer was not built"
mkdir "$WORK/corpus"
"$WORK/fuzz-fuse" -max_total_time="${UMBRA_FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=2048 -max_len=2048 -print_final_stats=1 \
  "$WORK/corpus" tests/fuzz/corpus/fuse >"$WORK/log" 2>&1 || { tail -n 60 "$WORK/log"; fail "see above"; }
grep -E 'number_of_executed_units|^#.*DONE' "$WORK/log"
