#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills the server of a volume with the ublk front, in a virtual machine with Linux 6.12, ROUNDS times under fio that checks what it
# reads, as often while it takes over, and with every request in its hands; upgrades it, kills its supervisor: no I/O error, no mismatch, no
# shadow copy changed, fsck finds nothing.
# timeout: 1800
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/attached.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program fio jq python3 mkfs.ext4 e2fsck
in_vm --timeout 1780 --disk 100M --disk 900M
. "$(dirname "$0")/../lib/ublk.sh"

ROUNDS=${ROUNDS:-20} LIMIT=800000000
attach >/dev/null
mkfs.ext4 -q -F "$V"
mount "$V" "$WORK/v"
dd if=/dev/urandom of="$WORK/v/before" bs=1M count=10 status=none
sync -f "$WORK/v"
one=$(create)
first=$(sum "$one")

# ---- servers die under load
declare -A sums=([$one]=$first)
load verified --filename="$WORK/v/file" --size=30M --iodepth=32
for ((i = 0; i < ROUNDS; i++)); do
  kill_server
  kill -0 "$LOAD" 2>/dev/null || { cat "$WORK/verified.out" >&2; fail "fio ended"; }
  if [ $((i % 5)) = 0 ]; then id=$(create); sums[$id]=$(sum "$id"); fi
done
servers=$(field servers)
"$UMBRA" detach --restart "$NAME" # an upgrade is the same way, in order
[ "$(field servers)" -gt "$servers" ] || fail "no other server came by restart"
# While the next one is taking over: killed a moment after it is there, wherever it is then.
for ((i = 0, killed = 0; killed < ROUNDS && i < 2000; i++)); do
  pid=$(pgrep -f '^@umbra-cow serve' | head -n 1 || true)
  if [ -n "$pid" ]; then
    sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
    kill -KILL "$pid" 2>/dev/null || true
    killed=$((killed + 1))
  fi
done
[ "$killed" = "$ROUNDS" ] || fail "only $killed servers were killed while they began"
alive() { field pid >/dev/null; }
wait_for 120 alive || fail "no server came after many died young"
[ "$(field servers)" -gt $((servers + 2)) ] || fail "only $(field servers) servers"
supervisor=$(field supervisor_pid)
kill -KILL "$supervisor"
replaced() { [ "$(field supervisor_pid)" -gt 0 ] && [ "$(field supervisor_pid)" != "$supervisor" ]; }
wait_for 20 replaced || fail "no other supervisor came"
load_ends verified
for id in "${!sums[@]}"; do
  [ "$(sum "$id")" = "${sums[$id]}" ] || fail "shadow copy $id changed"
done

"$UMBRA" --quiet delete --all
umount "$WORK/v"
"$UMBRA" detach "$NAME"
e2fsck -fn "$ORIGIN" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the volume is damaged"; }

# ---- every request of every queue is with the server when it dies
attach >/dev/null
load full --filename="$V" --size=40M --iodepth=1024 --bs=4k --numjobs=2 --offset_increment=40M
for ((i = 0; i < 3; i++)); do
  sleep 1
  kill_server
done
load_ends full
"$UMBRA" detach "$NAME"

nothing_left
