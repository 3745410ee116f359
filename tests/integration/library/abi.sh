#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test compares the library's binary interface with the one that was released (abi/libumbra.xml): nothing that a program was built with has gone or changed.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
requires_program abidw abidiff gcc

[ "$(uname -m)" = x86_64 ] || skip "the dump is of x86_64, this is $(uname -m)"
dump=$TOP/abi/libumbra.xml
compare() { abidiff --no-added-syms --headers-dir2 "$TOP/include" --drop-private-types "$dump" "$1" >"$WORK/report" 2>&1; }
compare "$BUILD/include/libumbra.so" || { cat "$WORK/report"; fail "the binary interface has changed. If that is meant: tools/renew-abi, and an entry in CHANGELOG.md"; }

# It would notice: a function less, another parameter, a member more in a public structure.
changed() {
  mkdir -p "$WORK/$1/umbra"; cp "$TOP"/include/umbra/*.h "$WORK/$1/umbra"
  sed -i "$2" "$WORK/$1"/umbra/*.h
  cmp -s "$WORK/$1/umbra/umbra.h" "$TOP/include/umbra/umbra.h" && cmp -s "$WORK/$1/umbra/writer.h" "$TOP/include/umbra/writer.h" && fail "$1: nothing was changed"
  {
    printf '#include "umbra/umbra.h"\n#include "umbra/writer.h"\n'
    echo "int umbra_client_new(struct umbra_client **ret) { (void)ret; return 0; }"
    echo "int umbra_writer_main(const struct umbra_writer *writer, int argc, char **argv) { (void)writer; (void)argv; return argc; }"
  } >"$WORK/$1/few.c"
  gcc -g -shared -fPIC -I"$WORK/$1" -D_GNU_SOURCE -Wl,-soname,libumbra.so.0 "$WORK/$1/few.c" -o "$WORK/$1/libumbra.so" || fail "$1"
  abidw --no-corpus-path --no-comp-dir-path --headers-dir "$WORK/$1" --drop-private-types "$WORK/$1/libumbra.so" >"$WORK/$1.xml"
}
changed same 's/^extern/extern/;$a /* the same */'
changed member 's/^  int (\*abort)(struct umbra_writer_session \*s);/&\n  int (*more)(void);/'
abidiff "$WORK/same.xml" "$WORK/member.xml" >"$WORK/report" && fail "a member more in struct umbra_writer was not noticed"
grep -q "struct umbra_writer" "$WORK/report" || fail "another reason: $(cat "$WORK/report")"
compare "$WORK/same/libumbra.so" && fail "functions that are gone were not noticed"
grep -q "Removed.*function" "$WORK/report" || fail "another reason: $(cat "$WORK/report")"
