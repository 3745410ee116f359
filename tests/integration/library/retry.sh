#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets a writer fail: the requester that looks at reasons tries again when the writer says that this may help, three times at most, and not when it says that it does not.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/writers.sh"

make_volume v ext4 48M
mkdir "$WORK/v/data"
# fails_with STATUS TIMES
fails_with() {
  rm -f "$WORK"/{failed,events}; touch "$WORK/failed"
  make_writer moody back-end "\"components\": [{\"name\": \"data\", \"files\": [{\"path\": \"$WORK/v/data\"}]}]" \
    "[ \"\$1\" = prepare-snapshot ] && [ \$(wc -l <'$WORK/failed') -lt $2 ] && { echo x >>'$WORK/failed'; echo 'not in the mood' >&2; exit $1; }"
}
try() { STATUS=0; "$BUILD/examples/requester-retry" "$WORK/v/data" 0 >"$WORK/out" 2>"$WORK/messages" || STATUS=$?; }
tries() { grep -cE "^try [0-9]: $1: .*moody.*not in the mood" "$WORK/messages" || true; }

fails_with 75 2
try
[ "$STATUS" = 0 ] && [ "$(tries writer-retry)" = 2 ] || fail "status $STATUS: $(cat "$WORK/messages")"
[ "$(jq -r .set.consistency "$WORK/out")" = application ] || fail "$(cat "$WORK/out")"
[ "$(grep -c 'moody abort' "$WORK/events")" = 2 ] || fail "told: $(cat "$WORK/events")"
fails_with 75 9
try
[ "$STATUS" = 1 ] && [ "$(tries writer-retry)" = 3 ] || fail "status $STATUS: $(cat "$WORK/messages")"
fails_with 1 9
try
[ "$STATUS" = 1 ] && [ "$(tries writer)" = 1 ] && [ "$(wc -l <"$WORK/messages")" = 1 ] || fail "status $STATUS: $(cat "$WORK/messages")"
no_sets_left
