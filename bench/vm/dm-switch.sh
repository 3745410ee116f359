#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What does it cost to be attached as a device-mapper device: 4 KiB random writes while it goes directly against the bare disk, and through the
# engine; how long the volume waits while its table is exchanged; how much longer making the first shadow copy takes; and the hold. In a virtual machine, by
# name only: bench/run dm-switch. There a processor's work counts for more than on a machine.
. "$(dirname "$0")/../../tests/lib/functions.sh"
. "$(dirname "$0")/../../tests/lib/vm.sh"
in_vm --timeout "${VM_SECONDS:-900}" --disk 400M
. "$TOP/bench/figures.sh"
. "$TOP/tests/lib/dm-switch.sh"
requires_program fio jq dmsetup
ROUNDS=${ROUNDS:-3} SECONDS_EACH=${SECONDS_EACH:-4}
rate() {
  fio --name=rate --filename="$1" --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --direct=1 --size=300M --time_based \
    --runtime="$SECONDS_EACH" --output-format=json | jq '.jobs[0].write.iops'
}
# ask REQUEST...: of the volume's server
ask() {
  python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(60); s.connect(sys.argv[1])
for request in sys.argv[2:]:
  s.send(request.encode()); reply = s.recv(65536).decode()
  if "error" in reply: sys.exit(reply)' "$UMBRA_RUNTIME_DIR/attached/v/control" "$@"
}
for ((i = 0; i < ROUNDS; i++)); do
  rate /dev/vda >>"$WORK/bare"
  cleanup_fn attached_away v
  "$UMBRA" attach --dm yes --storage "$WORK" /dev/vda v >/dev/null
  goes v direct
  rate /dev/umbra/v >>"$WORK/direct"
  ask '{"do":"begin","id":"b"}' '{"do":"commit","id":"b"}' # one connection: what it has only begun goes with it
  goes v engine
  rate /dev/umbra/v >>"$WORK/engine"
  "$UMBRA" detach --force v
done

# Under a load of single writes: the longest that one waited while nothing was switched, and while it was, both ways.
mapped_volume v ext4 /dev/vda
"$BUILD/tests/accepts-write" "$WORK/v" 5 >/dev/null
longest() {
  fio --name=one --filename=/dev/umbra/v --rw=randread --bs=4k --ioengine=psync --direct=1 --size=300M --time_based --runtime=3 \
    --output-format=json >"$WORK/one.json" &
  local load=$!
  sleep 1
  "$@"
  wait "$load"
  jq '.jobs[0].read.clat_ns.max / 1e6' "$WORK/one.json"
}
begin_only() { ask '{"do":"begin","id":"w"}' && goes v direct; }
for ((i = 0; i < ROUNDS; i++)); do
  longest true >>"$WORK/wait-none"
  longest begin_only >>"$WORK/wait-switch"
done
start_random_writes "$WORK/v" 1 16M
for ((i = 0; i < 2 * ROUNDS; i++)); do
  goes v direct
  milliseconds ask '{"do":"begin","id":"first"}' >>"$WORK/begin-first" # and back, with its connection
  goes v direct
  "$UMBRA" --quiet --json create --no-writers "$WORK/v" | jq .set.hold_ms >>"$WORK/hold-first"
  milliseconds ask '{"do":"begin","id":"next"}' >>"$WORK/begin-next"
  "$UMBRA" --quiet --json create --no-writers "$WORK/v" | jq .set.hold_ms >>"$WORK/hold-next"
  bare_freeze_ms "$WORK/v" >>"$WORK/freeze"
  "$UMBRA" --quiet delete --all
done
m() { median <"$WORK/$1"; }
difference() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; print (d > 0 ? d : 0) }'; }
figure "attached by device-mapper, no shadow copy, against the bare disk: 4 KiB random writes (VM)" "$(ratio "$(m direct)" "$(m bare)")" "" 0.8 more
figure "a request that waits for both switches, longest, beyond the longest without (VM)" "$(difference "$(m wait-switch)" "$(m wait-none)")" " ms" 1000
figure "begin of the first shadow copy, with its switch, beyond one of a later one (VM)" "$(difference "$(m begin-first)" "$(m begin-next)")" " ms" 1000
figure "hold with the first shadow copy beyond that of a later one (VM)" "$(difference "$(m hold-first)" "$(m hold-next)")" " ms" 10
echo "dm-switch: writes/s: bare $(m bare), directly $(m direct), through the engine $(m engine); holds: first $(m hold-first) ms, later $(m hold-next) ms, bare freeze $(m freeze) ms" >&2
