#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How long does a client of an OpenLDAP server stand still at most while a shadow copy is made? Three clients that write, to two databases, synced; of each set the
# longest round of writes, and beside it the longest in as long a time without one.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
. "$TOP/tests/lib/openldap.sh"
requires_root
requires_program jq python3 mkfs.ext4 mkfs.btrfs setpriv

ROUNDS=${ROUNDS:-50}
mark() { for log in "$WORK"/acknowledged/log.[0-9]; do wc -l <"$log" >"$log.mark"; done; }
longest() { for log in "$WORK"/acknowledged/log.[0-9]; do tail -n +$(($(<"$log.mark") + 1)) "$log"; done | awk '$2 > m { m = $2 } END { print m + 0 }'; }
grew_log() { [ "$(wc -l <"$1")" -gt $(($(<"$1.mark") + 1)) ]; }
# measure WHAT COMMAND...: $WORK/longest-WHAT gets a line
measure() {
  local what=$1 log; shift
  mark
  "$@"
  # What was under way at the end counts, too.
  for log in "$WORK"/acknowledged/log.[0-9]; do wait_for 60 grew_log "$log"; done
  longest >>"$WORK/longest-$what"
}
shadow_copy() {
  local set begin=$EPOCHREALTIME
  set=$("$UMBRA" --quiet --json create --require application "$DATA")
  LAST_S=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")" >/dev/null
}

for type in ext4 btrfs; do
  make_volume "$type" "$type" 256M
  openldap_start "$WORK/$type/ldap"
  rm -f "$UMBRA_CONFIG_DIR/writers.d/acknowledged" "$WORK"/longest-*
  for ((i = 0; i < ROUNDS; i++)); do
    measure set shadow_copy
    measure none sleep "$LAST_S"
  done
  figure "openldap on $type: longest stall of a client during a shadow copy, median" "$(median <"$WORK/longest-set")" " ms" 200
  figure "openldap on $type: the same, longest of $ROUNDS" "$(percentile 100 <"$WORK/longest-set")" " ms" 1000
  echo "openldap on $type: without a shadow copy $(median <"$WORK/longest-none") ms, at most $(percentile 100 <"$WORK/longest-none") ms" >&2
  openldap_stop
done
