#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is the longest that a client of PostgreSQL waits for a transaction while a shadow copy is made? pgbench's transactions by 8 clients at scale
# SCALE (50), SETS (50) shadow copies by clone and by btrfs. Beside it, on standard error: the longest in as long a time without one.
. "$(dirname "$0")/../tests/lib/functions.sh"
export SCALE=${SCALE:-50}
. "$TOP/tests/lib/postgresql.sh"
. "$TOP/bench/figures.sh"
SETS=${SETS:-50}
SETTINGS=() # PostgreSQL's own

port=5990
for kind in "clone ext4" "btrfs btrfs"; do
  read -r provider type <<<"$kind"
  make_volume "$provider" "$type" $((SCALE * 40 + 1000))M
  install -d -o postgres "$WORK/$provider/pg"
  make_cluster "$WORK/$provider/pg/main" "$port"
  # What making gigabytes of tables has left to write back is not what a shadow copy costs.
  sync -f "$WORK/$provider"
  start_load "$port"
  for ((i = 0; i < SETS; i++)); do
    ask longest >/dev/null
    begin=$EPOCHREALTIME
    "$UMBRA" --json create --provider "$provider" --require application "$WORK/$provider" >"$WORK/set" 2>"$WORK/messages" || { cat "$WORK/messages" >&2; exit 1; }
    ask longest >>"$WORK/$provider-ms"
    took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
    jq .set.hold_ms "$WORK/set" >>"$WORK/$provider-hold-ms"
    "$UMBRA" --quiet delete --all
    ask longest >/dev/null
    sleep "$took"
    ask longest >>"$WORK/$provider-without-ms"
  done
  stop_load
  server stop "$WORK/$provider/pg/main" fast
  figure "$provider: longest wait for a transaction at scale $SCALE, p50" "$(median <"$WORK/$provider-ms")" " ms" 100
  figure "$provider: longest wait for a transaction at scale $SCALE, max of $SETS" "$(percentile 100 <"$WORK/$provider-ms")" " ms" 100
  echo "$provider: $TRANSACTIONS transactions; without a shadow copy p50 $(median <"$WORK/$provider-without-ms") ms, max $(percentile 100 <"$WORK/$provider-without-ms") ms; held p50 $(median <"$WORK/$provider-hold-ms") ms, max $(percentile 100 <"$WORK/$provider-hold-ms") ms" >&2
  echo "$provider: the longest three, and of which set: $(awk '{ print $1 " ms (" NR ")" }' "$WORK/$provider-ms" | sort -gr | head -3 | paste -sd, -)" >&2
  port=$((port + 1))
done
