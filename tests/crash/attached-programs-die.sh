#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills the server and the supervisor of an attached volume again and again, under fio that checks what it reads: no I/O error, no
# mismatch, the shadow copies of before and between stay what they were, fsck finds nothing, and nothing is left.  ROUNDS kills of each.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/attached.sh"
requires_root
requires_program fio jq python3

ROUNDS=${ROUNDS:-2}
create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0].id'; }
# sum SHADOW-ID: of the shadow copy's every byte
sum() { dd if="$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$1" bs=1M status=none | sha256sum; }

# kill_one ROLE: kills it, waits until another one has taken its place
kill_one() {
  local field pid
  field=$([ "$1" = server ] && echo pid || echo supervisor_pid)
  pid=$(attached_status "$ATTACHED" "$field")
  kill -KILL "$pid"
  another() { local now; now=$(attached_status "$ATTACHED" "$field") && [ "$now" != "$pid" ] && [ "$now" -gt 0 ]; }
  wait_for 20 another || fail "no other $1 came"
}

for type in ext4 xfs; do
  attached_volume v "$type" 400M --limit "$((1000000000 + ROUNDS * 300000000))" # each kill leaves a shadow copy, and all of them stay
  dd if=/dev/urandom of="$WORK/v/before" bs=1M count=20 status=none
  sync -f "$WORK/v"
  declare -A sums=()
  first=$(create)
  sums[$first]=$(sum "$first")
  fio --thread --name=verified --filename="$WORK/v/file" --size=100M --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 --direct=1 \
    --verify=crc32c --verify_backlog=512 --verify_fatal=1 --verify_state_save=0 --time_based --runtime=600 --output="$WORK/fio.out" 2>&1 &
  load=$!
  cleanup_fn kill_and_wait "$load"
  for ((i = 0; i < ROUNDS; i++)); do
    kill_one server
    kill -0 "$load" 2>/dev/null || { cat "$WORK/fio.out" >&2; fail "fio ended"; }
    kill_one supervisor
    id=$(create)
    sums[$id]=$(sum "$id")
    kill_one server
  done
  kill -INT "$load"
  # Interrupted, it ends with 128; what it saw is in its report.
  wait "$load" || true
  grep -q 'err= 0:' "$WORK/fio.out" || { grep -vE 'percentile|th=\[|lat |IO depths' "$WORK/fio.out" >&2; fail "fio saw an error"; }
  [ "${#sums[@]}" = $((ROUNDS + 1)) ] || fail "only ${#sums[@]} shadow copies"
  for id in "${!sums[@]}"; do
    [ "$(sum "$id")" = "${sums[$id]}" ] || fail "shadow copy $id changed"
  done
  tree=$("$UMBRA" mount "$first")
  cmp "$tree/before" "$WORK/v/before"
  "$UMBRA" unmount "$first"
  "$UMBRA" --quiet delete --all
  unmount_alone "$WORK/v"
  "$UMBRA" detach "$ATTACHED"
  if [ "$type" = ext4 ]; then e2fsck -fn "$ORIGIN" >"$WORK/fsck" 2>&1; else xfs_repair -n "$ORIGIN" >"$WORK/fsck" 2>&1; fi ||
    { cat "$WORK/fsck" >&2; fail "$type is damaged"; }
  no_attached_left
  rmdir "$WORK/v"
done
