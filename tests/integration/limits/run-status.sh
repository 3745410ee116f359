#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs programs that end in every way under umbra run: the status is the program's own, 126, 127, 128+N, or 125 when there is no
# shadow copy to run it over.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v btrfs 128M
run() { expect_status "$1" "$UMBRA" run --of "$WORK/v" --no-writers -- "${@:2}"; }
run 0 true
run 7 sh -c 'exit 7'
run 3 sh -c 'exit 3'
run 143 sh -c 'kill -TERM $$'
run 137 sh -c 'kill -KILL $$'
run 127 "$WORK/no-such-program"
: >"$WORK/no-program" && run 126 "$WORK/no-program"
expect_status 125 "$UMBRA" run --of "$WORK/nowhere" -- true
expect_status 125 "$UMBRA" run --of /proc -- true
[ -z "$(find "$UMBRA_RUNTIME_DIR/sets" -name '*.json' 2>/dev/null)" ] || fail "the journal has an entry left"
