#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test fuzzes what takes a file's streams apart with coverage by libFuzzer, under the address and undefined behaviour sanitizers, for
# UMBRA_FUZZ_SECONDS (default 60).
# timeout: 900
. "$(dirname "$0")/../lib/functions.sh"
requires_root
requires_program clang

cd "$TOP"
clang -std=gnu17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
  -I. -Iinclude -o "$WORK/fuzz-stream" tests/fuzz/fuzz-stream.c stream/*.c common/error.c common/fd.c || fail "the fuzzer was not built"
mkdir "$WORK/corpus"
"$WORK/fuzz-stream" -max_total_time="${UMBRA_FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
  "$WORK/corpus" tests/fuzz/corpus/stream >"$WORK/log" 2>&1 || { tail -n 60 "$WORK/log"; fail "see above"; }
grep -E 'number_of_executed_units|^#.*DONE' "$WORK/log"
