#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How long does a client of a SQLite database stand still at most while a shadow copy is made? In WAL mode and with a rollback journal, a process each that
# writes (of several, each sleeps up to 100 ms at a time while another writes, which would be all that is seen); of each set the longest
# transaction, and beside it the longest in as long a time without one.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
. "$TOP/tests/lib/sqlite.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.btrfs setpriv

ROUNDS=${ROUNDS:-50} WORKERS=(1)
mark() { for log in "$WORK/acknowledged-$1"/*.[0-9]; do wc -l <"$log" >"$log.mark"; done; }
# longest DATABASE: the longest transaction since mark, in ms
longest() {
  local log
  for log in "$WORK/acknowledged-$1"/*.[0-9]; do tail -n +$(($(<"$log.mark") + 1)) "$log"; done | awk '$2 > m { m = $2 } END { print m + 0 }'
}
# measure WHAT COMMAND...: $WORK/longest-DATABASE-WHAT gets a line
measure() {
  local what=$1 d w; shift
  for d in "${DATABASES[@]}"; do mark "$d"; done
  "$@"
  # What was under way at the end counts, too.
  for d in "${DATABASES[@]}"; do
    for w in "${WORKERS[@]}"; do wait_for 60 grew_log "$WORK/acknowledged-$d/$d.$w"; done
    longest "$d" >>"$WORK/longest-$d-$what"
  done
}
grew_log() { [ "$(wc -l <"$1")" -gt $(($(<"$1.mark") + 1)) ]; }
shadow_copy() {
  local set begin=$EPOCHREALTIME
  set=$("$UMBRA" --quiet --json create --require application "$DATA")
  LAST_S=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")" >/dev/null
}

for type in ext4 btrfs; do
  rm -rf "$WORK"/acknowledged-* "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d" "$WORK"/longest-*
  make_volume "$type" "$type" 256M
  sqlite_start "$WORK/$type/data"
  rm "$UMBRA_CONFIG_DIR/writers.d/acknowledged"
  for ((i = 0; i < ROUNDS; i++)); do
    measure set shadow_copy
    measure none sleep "$LAST_S"
  done
  for d in "${DATABASES[@]}"; do
    figure "sqlite on $type, $d: longest stall of a client during a shadow copy, median" "$(median <"$WORK/longest-$d-set")" " ms" 250
    figure "sqlite on $type, $d: the same, longest of $ROUNDS" "$(percentile 100 <"$WORK/longest-$d-set")" " ms" 1000
    echo "sqlite on $type, $d: without a shadow copy $(median <"$WORK/longest-$d-none") ms, at most $(percentile 100 <"$WORK/longest-$d-none") ms" >&2
  done
  for pid in $(jobs -p); do kill_and_wait "$pid"; done
done
