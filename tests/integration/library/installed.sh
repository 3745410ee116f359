#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test installs into a directory of its own and builds the examples there as others do, with pkg-config, against the shared and the static library:
# they work, nothing is exported but umbra_*, and no thread of the library is left beside the program's own.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program meson ninja gcc g++ pkg-config jq mkfs.ext4 nm readelf

dest=$WORK/dest
meson install -C "$BUILD" --no-rebuild --destdir "$dest" >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "meson install failed"; }
pc=$(find "$dest" -name libumbra.pc)
[ -n "$pc" ] || fail "no libumbra.pc was installed"
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dest
libraries=$dest$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --variable=libdir libumbra)
for header in error umbra writer; do
  [ -s "$(find "$dest" -path "*/include/umbra/$header.h")" ] || fail "umbra/$header.h was not installed"
done
[ "$(readelf -d "$libraries/libumbra.so" | sed -n 's/.*soname: \[\(.*\)\]/\1/p')" = libumbra.so.0 ] || fail "SONAME: $(readelf -d "$libraries/libumbra.so")"

# Each symbol has its version, and there is no other; in the static library no other is global.
nm -D --defined-only "$libraries/libumbra.so" | awk '$2 != "A" { print $3 }' >"$WORK/exported"
grep -vE '^umbra_[a-z_]+@@UMBRA_[0-9.]+$' "$WORK/exported" && fail "exported"
[ "$(wc -l <"$WORK/exported")" -gt 50 ] || fail "exported: $(cat "$WORK/exported")"
sed 's/@.*//' "$WORK/exported" | sort >"$WORK/shared-names"
nm --defined-only -g "$libraries/libumbra.a" | awk 'NF == 3 { print $3 }' | sort | diff "$WORK/shared-names" - || fail "the static library's symbols are not the shared one's"

# build WHICH SOURCE: $WORK/WHICH/NAME
strict=(-std=c99 -pedantic -Wall -Wextra -Werror -D_GNU_SOURCE)
build() {
  local flags
  mkdir -p "$WORK/$1"
  read -ra flags < <(pkg-config "${@:3}" --cflags --libs libumbra)
  gcc "${strict[@]}" "$2" -o "$WORK/$1/$(basename "$2" .c)" "${flags[@]}" || fail "$2 does not build with the $1 library"
}
sources=("$TOP/examples/requester-copy.c" "$TOP/examples/requester-async.c" "$TOP/examples/requester-retry.c" "$TOP/examples/writer-notebook.c" "$TOP/tests/lib/library-use.c")
for source in "${sources[@]}"; do build shared "$source"; done
echo 'int main(void) { return umbra_client_reason(0) == 0 && umbra_writer_main(0, 0, 0); }' | cat <(printf '#include <umbra/umbra.h>\n#include <umbra/writer.h>\n') - >"$WORK/plus.cc"
# shellcheck disable=SC2046
g++ -std=c++11 -pedantic -Wall -Werror "$WORK/plus.cc" -o "$WORK/plus" $(pkg-config --cflags --libs libumbra) || fail "C++ does not build"
# Where only the static one is.
mkdir "$WORK/aside"; mv "$libraries"/libumbra.so* "$WORK/aside"
for source in "${sources[@]}"; do build static "$source" --static; done
mv "$WORK"/aside/* "$libraries"
# A program may have the names that the library has inside.
cat >"$WORK/clash.c" <<'END2'
#include <umbra/umbra.h>
int error_set(void) { return 7; }
int set_create(void) { return 8; }
int main(void) { struct umbra_client *c; return umbra_client_new(&c) < 0 ? 1 : error_set() + set_create() != 15; }
END2
mv "$libraries"/libumbra.so* "$WORK/aside"; build static "$WORK/clash.c" --static; mv "$WORK"/aside/* "$libraries"
"$WORK/static/clash" || fail "a program with names of the library's inside: status $?"

make_volume v ext4 48M
mkdir -p "$WORK/v/data" "$UMBRA_CONFIG_DIR/writers.d"
echo kept >"$WORK/v/data/file"
export NOTEBOOK=$WORK/v/data
for which in shared static; do
  [ "$which" = shared ] && export LD_LIBRARY_PATH=$libraries || unset LD_LIBRARY_PATH
  linked=$(ldd "$WORK/$which/requester-copy")
  [[ $which = shared ]] && { grep -q "libumbra.so.0 => $libraries" <<<"$linked" || fail "shared: $linked"; }
  [[ $which = static ]] && { grep -q libumbra <<<"$linked" && fail "static: $linked"; }
  cp "$WORK/$which/writer-notebook" "$UMBRA_CONFIG_DIR/writers.d/notebook"
  "$WORK/$which/requester-copy" "$WORK/v/data" "$WORK/copy-$which" || fail "requester-copy ($which): status $?"
  [ "$(cat "$WORK/copy-$which/file")" = kept ] || fail "requester-copy ($which) copied something else"
  [ "$("$WORK/$which/library-use" "$WORK/v/data")" = $'threads 1\nthreads 1' ] || fail "threads ($which): $("$WORK/$which/library-use" "$WORK/v/data")"
done
