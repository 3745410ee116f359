#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test counts how often umbrad wakes up while nothing happens (never), with sets in the catalogue, and how much memory its two processes take (less than 12 MiB).
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/daemon.sh"
requires_root

make_volume a ext4 32M
for _ in 1 2 3; do "$UMBRA" --quiet create --provider null --no-writers "$WORK/a" >/dev/null; done
start_bus
start_umbrad
[ "$(sets_on_bus | wc -l)" = 3 ] || fail "sets: $(sets_on_bus)"
manage ListWriters >/dev/null
no_jobs() { ! pgrep -P "$HOST_PID" >/dev/null; }
wait_for 20 no_jobs || fail "a job does not end"
wake_ups() { awk '/voluntary_ctxt_switches/ { n += $2 } END { print n }' "/proc/$UMBRAD_PID/status" "/proc/$HOST_PID/status"; }
# Until what was under way has settled, then as long as that is worth.
settled() { local n; n=$(wake_ups); sleep 1; [ "$(wake_ups)" = "$n" ]; }
wait_for 30 settled || fail "it does not come to rest"
before=$(wake_ups)
sleep 5
after=$(wake_ups)
[ "$after" = "$before" ] || fail "$((after - before)) wake-ups in 5 s"
rss_kib=$(awk '/^VmRSS/ { n += $2 } END { print n }' "/proc/$UMBRAD_PID/status" "/proc/$HOST_PID/status")
echo "$rss_kib KiB in both processes"
[ "$rss_kib" -lt $((12 * 1024)) ] || fail "$rss_kib KiB"
"$UMBRA" --quiet delete --all
