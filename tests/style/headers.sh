#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test compiles every header alone, and the public ones as ISO C99 and as C++ too.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program gcc pkg-config

cd "$TOP"
flags=(-I. -Iinclude -Wall -Wextra -Werror -fsyntax-only -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64)
read -ra packages < <(pkg-config --cflags libsystemd jansson mount blkid libarchive libbpf ext2fs libpq libmariadb hiredis sqlite3 lmdb libvirt libxml-2.0)
count=0
while read -r header; do
  # Seen by the BPF compiler and by ours: its types come from whoever includes it.
  case $header in *.bpf.h | track/track-shared.h) continue ;; esac
  echo "#include \"$header\"" | gcc -x c -std=gnu17 "${flags[@]}" "${packages[@]}" - || fail "$header does not compile alone"
  case $header in
    include/*)
      echo "#include \"$header\"" | gcc -x c -std=c99 -pedantic-errors "${flags[@]}" - || fail "$header is not ISO C99"
      if command -v g++ >/dev/null; then
        echo "#include \"$header\"" | g++ -x c++ -std=c++11 -pedantic-errors "${flags[@]}" - || fail "$header is not C++"
      fi
      ;;
  esac
  count=$((count + 1))
done < <(find include common volume track cow providers coordinator libumbra view backup writers cli daemon -name '*.h')
[ "$count" -gt 10 ] || fail "only $count headers found"
# The arrows, too: meson checks them only when it configures.
tools/check-arrows || fail "an arrow points the wrong way"
