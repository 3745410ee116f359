#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 15 of the answered system: every event fails in turn, for good and worth a retry: state and reason match, the failed one hears abort, the retry succeeds.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 32M
for status in 1 75; do
  for event in prepare-backup prepare-snapshot freeze; do
    rm -rf "$UMBRA_CONFIG_DIR/writers.d" "$WORK/events" "$WORK/failed"
    # Fails the first time only.
    make_writer one back-end '"components": []' "[ \"\$1\" = $event ] && [ ! -e $WORK/failed ] && { touch $WORK/failed; echo 'it hurts' >&2; exit $status; }"
    expect_status 3 "$UMBRA" --json create --provider null "$WORK/v"
    grep -v '^umbra:' "$WORK/output" >"$WORK/json"
    [ "$(jq -r '.set.writers[0].state' "$WORK/json")" = "failed-at-$event" ] || fail "$event $status: $(cat "$WORK/json")"
    expect_output '^umbra: .*one.*it hurts'
    reason=$(jq -r '.set.writers[0].reason' "$WORK/json")
    case $status in 75) [ "$reason" = writer-retry ] ;; *) [ "$reason" = writer ] ;; esac || fail "$event $status: the reason is $reason"
    [[ "$(events_of one)" == *abort* ]] || fail "$event: no abort: $(events_of one)"
    expect_status 0 "$UMBRA" create --provider null "$WORK/v"
    expect_status 0 "$UMBRA" delete --all
  done
done
