#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes --progress=json at its word: every line on standard error is an object, also of a command that is done before there was anything
# to wait for, and the last one of each phase says all of it. With --quiet, and on paper where all is done at once, there is nothing.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq
cleanup_fn "$UMBRA" delete --all

make_volume v ext4 64M
dd if=/dev/urandom of="$WORK/v/large" bs=1M count=20 status=none
echo small >"$WORK/v/small"
bytes=$((20 * 1048576 + 6))

# told PHASE DONE COMMAND...: the last line of the phase
told() {
  "$UMBRA" --progress=json "${@:3}" >/dev/null 2>"$WORK/err" || fail "umbra ${*:3}: $(cat "$WORK/err")"
  jq -es 'all(has("phase") and has("volume") and (.done | type == "number") and (.total | type == "number"))' "$WORK/err" >/dev/null ||
    fail "umbra ${*:3}: not JSON lines: $(cat "$WORK/err")"
  last=$(jq -sc "map(select(.phase == \"$1\")) | last | [.done, .total]" "$WORK/err")
  [ "$last" = "$2" ] || fail "umbra ${*:3}: the last of phase $1 is $last and not $2: $(cat "$WORK/err")"
}
told copy '[0,0]' create --no-writers --provider null "$WORK/v"
told saving "[$bytes,$bytes]" backup --no-writers --provider files "$WORK/v/large" "$WORK/v/small" --to "$WORK/backup"
told verifying "[$bytes,$bytes]" verify "$WORK/backup"
told restoring "[$bytes,$bytes]" restore "$WORK/backup" --to "$WORK/out"
# A large file is not silence until its end.
jq -es 'map(select(.phase == "restoring")) | length > 2' "$WORK/err" >/dev/null || fail "restoring 20 MiB: $(cat "$WORK/err")"
told saving "[$bytes,$bytes]" backup --no-writers --provider files "$WORK/v/large" "$WORK/v/small" --to "$WORK/backup"
jq -es 'map(select(.phase == "saving")) | length > 2' "$WORK/err" >/dev/null || fail "saving 20 MiB: $(cat "$WORK/err")"

"$UMBRA" create --no-writers --provider clone "$WORK/v" --quiet >/dev/null 2>"$WORK/err"
[ ! -s "$WORK/err" ] || fail "--quiet says: $(cat "$WORK/err")"
