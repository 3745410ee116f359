#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills the guardian and the coordinator together while volumes are held, one of them on an image that lies on another:
# nobody is left to thaw, so the next command does, the lower volume first.
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
requires_root
requires_program fsfreeze

HOLD_LIMIT_MS=60000 FREEZE_LIMIT_MS=90000
make_volume a ext4 96M
truncate -s 64M "$WORK/a/upper.img"
mkfs.ext4 -q -F "$WORK/a/upper.img"
UPPER=$(losetup --find --show "$WORK/a/upper.img")
cleanup_fn losetup -d "$UPPER"
mkdir "$WORK/upper"
cleanup_fn umount "$WORK/upper"
mount "$UPPER" "$WORK/upper"
# Whatever comes of this test, nothing stays frozen; the lower one first.
cleanup_fn fsfreeze -u "$WORK/upper"
cleanup_fn fsfreeze -u "$WORK/a"
fault_setup
guardian_of() {
  local pid
  for pid in $(cat "/proc/$1/task"/*/children 2>/dev/null); do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = umbra-guardian ] && echo "$pid" && return
  done
  return 1
}
# In either order of the request: what matters is who lies on whom.
for order in "a upper" "upper a"; do
  fault_at provider:commit STOP
  read -ra volumes <<<"$order"
  start_set "${volumes[@]}"
  wait_for 30 struck || fail "the hold was never reached: $(cat "$WORK/create.err")"
  guardian=$(guardian_of "$PID") || fail "no guardian"
  kill -KILL "$guardian"
  kill -KILL "$PID"
  wait "$PID" 2>/dev/null || true
  for v in a upper; do
    if accepts_write "$WORK/$v" 1; then fail "$v was not frozen: nothing is proven"; fi
  done
  # On a process of its own: one that hangs in a thaw cannot be killed.
  "$UMBRA" recover >"$WORK/recovered" 2>&1 &
  RECOVER=$!
  recovered() { ! kill -0 "$RECOVER"; }
  wait_for 20 recovered || fail "recovery hangs"
  wait "$RECOVER" || fail "recovery failed: $(cat "$WORK/recovered")"
  writes_within 5 a upper
  told_after_freeze || fail "a frozen writer heard nothing: $(cat "$WORK/witness.log")"
  nothing_left a upper
done
