#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test holds what the library exports (libumbra/libumbra.sym) against what the public headers declare: neither has more than the other.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program gcc

cd "$TOP"
for header in include/umbra/*.h; do
  gcc -E -P -Iinclude "$header"
done | tr '\n' ' ' | grep -oE '\bumbra_[a-z_]+ ?\(' | tr -d ' (' | sort -u >"$WORK/declared"
grep -oE '^ +umbra_[a-z_]+;' libumbra/libumbra.sym | tr -d ' ;' >"$WORK/listed"
[ "$(wc -l <"$WORK/declared")" -gt 50 ] || fail "only these are declared: $(cat "$WORK/declared")"
sort -u "$WORK/listed" | diff "$WORK/declared" - >"$WORK/difference" || fail "declared (<) and listed in libumbra.sym (>): $(cat "$WORK/difference")"
[ -z "$(sort "$WORK/listed" | uniq -d)" ] || fail "listed twice: $(sort "$WORK/listed" | uniq -d)"
