#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches a disk as a device-mapper device over the ublk front, in a virtual machine with Linux 6.12: each shadow copy one instant under
# load; both programs die, whichever way it goes, and what waits goes on when it is attached again; fio that checks what it reads sees nothing.
# timeout: 900
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 dmsetup python3 e2fsck fio
in_vm --timeout 880 --disk 96M --disk 96M
FRONT=ublk
. "$TOP/tests/lib/dm-switch.sh"
ROUNDS=${ROUNDS:-3}
trace() { echo "$SECONDS s: $*"; }
both_die() {
  local server supervisor
  server=$(attached_status a pid) supervisor=$(attached_status a supervisor_pid)
  kill -STOP "$server"
  kill -KILL "$supervisor" "$server"
  dead() { ! kill -0 "$server" 2>/dev/null && ! kill -0 "$supervisor" 2>/dev/null; }
  wait_for 30 dead
}
again() { "$UMBRA" attach --dm auto --storage "$WORK" --limit 300000000 /dev/vda a >"$WORK/attach.out" 2>"$WORK/attach.err" || fail "$(cat "$WORK/attach.err")"; }
counter() { awk '{ print $7 }' "/sys/block/$device/stat"; }

mapped_volume a ext4 /dev/vda --limit 300000000
device=$(basename "$(readlink /dev/umbra/a)")
[[ $(attached_status a front_device) == /dev/ublkb* ]] || fail "the front's device is $(attached_status a front_device)"
goes a direct

trace "under load"
order_start "$WORK/a"
for ((i = 1; i <= ROUNDS; i++)); do
  order_advance 30
  prove_set a
  trace "set $i: one instant at operation $K, held $(jq .hold_ms <<<"$SET") ms"
done
order_stop
goes a direct
rm -rf "$WORK/a/order"

fio --thread --name=verified --filename="$WORK/a/file" --size=30M --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 --direct=1 --rate_iops=300 \
  --verify=crc32c --verify_backlog=512 --verify_fatal=1 --verify_state_save=0 --time_based --runtime=3600 --output="$WORK/fio.out" 2>&1 &
load=$!
cleanup_fn kill_and_wait "$load"
moves() {
  local before
  before=$(counter)
  more() { [ "$(counter)" -gt $((before + 20)) ]; }
  wait_for 60 more || fail "the load stands still"
  kill -0 "$load" 2>/dev/null || { cat "$WORK/fio.out" >&2; fail "fio ended"; }
}

for ((i = 0; i < 2; i++)); do
  trace "both die while it goes through the engine"
  id=$("$UMBRA" --json create --no-writers --provider cow "$WORK/a" | jq -r '.set.shadows[0].id')
  is_way a engine || fail "way $(way a)"
  moves
  both_die
  expect_status 1 "$UMBRA" detach a
  expect_output "waits for its programs"
  expect_status 1 "$UMBRA" attach --dm auto --storage "$WORK" /dev/vdb a
  expect_output "is still there, from when it was attached over another device"
  expect_status 1 "$UMBRA" attach --front fuse --storage "$WORK" /dev/vda a
  expect_output "is still there"
  kill -0 "$load" 2>/dev/null || { cat "$WORK/fio.out" >&2; fail "what waits got an error"; }
  again
  [ "/dev/$device" = "$(readlink /dev/umbra/a)" ] || fail "it is another device now"
  moves
  "$UMBRA" --json show "$id" | jq -e '.shadow.state == "lost"' >/dev/null || fail "$("$UMBRA" show "$id")"
  "$UMBRA" --quiet delete "$id"
  goes a direct
  trace "both die while it goes directly"
  both_die
  moves
  is_way a direct || fail "way $(way a)"
  again
  goes a direct
  moves
done
# One who is dead between begin and commit, or while it goes back.
for ((i = 0; i < 4; i++)); do
  "$UMBRA" --json create --no-writers --provider cow "$WORK/a" >"$WORK/created" 2>&1 &
  maker=$!
  sleep "$((i / 2)).$((RANDOM % 10))"
  both_die
  wait "$maker" || true
  again
  moves
  "$UMBRA" --quiet delete --all
  goes a direct
  trace "both died while a shadow copy was made"
done
"$UMBRA" recover >/dev/null
"$UMBRA" --quiet delete --all
kill -INT "$load"
wait "$load" || true
grep -q 'err= 0:' "$WORK/fio.out" || { cat "$WORK/fio.out" >&2; fail "fio saw an error"; }
goes a direct
plain_again a /dev/vda
nothing_mapped
gone() { ! compgen -G '/dev/ublk[bc]*' >/dev/null; }
wait_for 10 gone || fail "a ublk device is left"
! dmesg | grep -E 'WARNING:|BUG:|Oops|blocked for more than' || fail "the kernel complained"
trace "done"
