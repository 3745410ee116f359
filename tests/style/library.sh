#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test holds what the library exports (libumbra/libumbra.sym) against what the public headers declare: neither has more than the other; and each function has
# its place in a man page.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program gcc man

cd "$TOP"
for header in include/umbra/*.h; do
  gcc -E -P -Iinclude "$header"
done | tr '\n' ' ' | grep -oE '\bumbra_[a-z_]+ ?\(' | tr -d ' (' | sort -u >"$WORK/declared"
grep -oE '^ +umbra_[a-z_]+;' libumbra/libumbra.sym | tr -d ' ;' >"$WORK/listed"
[ "$(wc -l <"$WORK/declared")" -gt 50 ] || fail "only these are declared: $(cat "$WORK/declared")"
sort -u "$WORK/listed" | diff "$WORK/declared" - >"$WORK/difference" || fail "declared (<) and listed in libumbra.sym (>): $(cat "$WORK/difference")"
[ -z "$(sort "$WORK/listed" | uniq -d)" ] || fail "listed twice: $(sort "$WORK/listed" | uniq -d)"

for page in "$BUILD"/umbra-*.3; do
  MANWIDTH=1000 man --no-hyphenation --no-justification -l "$page" 2>/dev/null | col -b
done | grep -oE 'umbra_[a-z_]+' | sort -u >"$WORK/described"
comm -23 "$WORK/declared" "$WORK/described" >"$WORK/difference"
[ ! -s "$WORK/difference" ] || fail "in no man page of section 3: $(cat "$WORK/difference")"
comm -13 "$WORK/declared" "$WORK/described" | grep -vxE 'umbra_(writer|writer_session|writer_instance|attach_option|writer_list|stream|stream_options)' >"$WORK/difference" || true
[ ! -s "$WORK/difference" ] || fail "in a man page, and nowhere else: $(cat "$WORK/difference")"
