#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets tools/new-provider make a provider in a copy of the source, and compiles what comes of it as strictly as the rest.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program gcc git pkg-config

mkdir "$WORK/copy"
(cd "$TOP" && tar -c --exclude='./build*' --exclude=./.git .) | tar -x -C "$WORK/copy"
cd "$WORK/copy"
tools/new-provider tryout >"$WORK/said" || fail "new-provider: $(cat "$WORK/said")"
tools/new-provider tryout 2>/dev/null && fail "made twice"
tools/new-provider "No Name" 2>/dev/null && fail "a name that is none"
read -ra flags < <(pkg-config --cflags jansson)
for source in providers/tryout/tryout.c providers/registry.c; do
  gcc -std=gnu17 -Wall -Wextra -Werror -Wmissing-prototypes -D_GNU_SOURCE -I. -Iinclude "${flags[@]}" -fsyntax-only "$source" ||
    fail "$source does not compile"
done
grep -q '&tryout_provider,' providers/registry.c || fail "not in the registry"
tools/check-arrows || fail "the arrows do not know it"
