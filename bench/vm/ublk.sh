#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# In a virtual machine with Linux 6.12, by name only (bench/run ublk): what does it cost to be attached by the ublk front, and how do first writes under shadow copies compare
# with those under dm-snapshots, persistent and transient, chunks of 4 and 64 KiB, one and eight of them. 4 KiB random writes (io_uring, depth
# 32). Without KVM the processor's time for a request is all that counts there, so device operations and bytes a write are printed, too.
. "$(dirname "$0")/../../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
. "$TOP/tests/lib/attached.sh"
. "$TOP/tests/lib/vm.sh"
requires_program fio jq dmsetup
in_vm --timeout "${VM_SECONDS:-900}" --disk 256M --disk 2G

SIZE_MIB=${SIZE_MIB:-64} ROUNDS=${ROUNDS:-1}
NAME=bench ORIGIN=/dev/vda STORE=/dev/vdb
modprobe -a loop fuse dm_snapshot
cleanup_fn attached_away "$NAME"
away() { dmsetup remove_all --force >/dev/null 2>&1 || true; }
cleanup_fn away

# operations and bytes that reached the disks below so far
disks() { awk '{ operations += $1 + $5; bytes += ($3 + $7) * 512 } END { print operations, bytes }' /sys/block/vd[ab]/stat; }
# measure WHAT DEVICE EVERY_KIB [FIO OPTION...]: a 4 KiB write into each EVERY_KIB, once, in random order; writes a second into $WORK/WHAT, device
# operations and bytes of each into WHAT.operations and WHAT.bytes
measure() {
  local what=$1 device=$2 every=$3 before after count=$((SIZE_MIB * 1024 / $3)); shift 3
  { echo "fio version 2 iolog"; echo "$device add"; echo "$device open"
    seq 0 $((count - 1)) | shuf --random-source=<(yes) | awk -v d="$device" -v e="$((every * 1024))" '{ printf "%s write %.0f 4096\n", d, $1 * e }'
    echo "$device close"; } >"$WORK/log"
  read -ra before < <(disks)
  fio --name=each --read_iolog="$WORK/log" --ioengine=io_uring --iodepth=32 --direct=1 --output-format=json "$@" >"$WORK/json"
  read -ra after < <(disks)
  jq '.jobs[0].write.iops' "$WORK/json" >>"$WORK/$what"
  awk -v n="$count" -v a="${before[0]}" -v b="${after[0]}" 'BEGIN { printf "%.2f\n", (b - a) / n }' >>"$WORK/$what.operations"
  awk -v n="$count" -v a="${before[1]}" -v b="${after[1]}" 'BEGIN { printf "%.0f\n", (b - a) / n }' >>"$WORK/$what.bytes"
}
ask() {
  python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(60); s.connect(sys.argv[1])
for request in sys.argv[2:]:
  s.send(request.encode()); reply = s.recv(65536).decode()
  if "error" in reply: sys.exit(reply)' "$UMBRA_RUNTIME_DIR/attached/$NAME/control" "$@"
}
attach() { "$UMBRA" --quiet attach "$ORIGIN" "$NAME" --dm no --front "$1" --storage "$STORE" --limit 1500000000 --chunk "$2" "${@:3}" >/dev/null; }
detach() { "$UMBRA" detach --force "$NAME"; }
# shadow N: made, and until it can be relied on
shadow() { ask "{\"do\":\"begin\",\"id\":\"one-$1\"}" "{\"do\":\"commit\",\"id\":\"one-$1\"}"; }
kept() { ask '{"do":"begin","id":"kept","keep":true}' '{"do":"commit","id":"kept"}' '{"do":"settle","id":"kept"}'; }

# snapshots COUNT N|P CHUNK_KIB: dm-snapshots of the origin, which is then /dev/mapper/live
snapshots() {
  local i sectors each
  sectors=$(blockdev --getsz "$ORIGIN") each=$(($(blockdev --getsz "$STORE") / $1))
  for ((i = 0; i < $1; i++)); do
    dmsetup create "store$i" --table "0 $each linear $STORE $((i * each))"
    dd if=/dev/zero of="/dev/mapper/store$i" bs=64k count=1 oflag=direct status=none
    dmsetup create "snap$i" --table "0 $sectors snapshot $ORIGIN /dev/mapper/store$i $2 $(($3 * 2))"
  done
  dmsetup create live --table "0 $sectors snapshot-origin $ORIGIN"
}
no_snapshots() { away; [ ! -e /dev/mapper/live ] || fail "a dm-snapshot stays"; }

dd if=/dev/urandom of="$ORIGIN" bs=1M count="$SIZE_MIB" oflag=direct status=none
for ((round = 0; round < ROUNDS; round++)); do
  measure plain "$ORIGIN" 4
  for front in ublk fuse; do
    attach "$front" 4096
    measure "$front-idle" /dev/umbra/bench 4
    shadow 0
    measure "$front-first" /dev/umbra/bench 4
    measure "$front-touched" /dev/umbra/bench 4
    detach
  done
  for chunk in 4 64; do
    attach ublk $((chunk * 1024))
    shadow 0
    measure "umbra-N-$chunk" /dev/umbra/bench "$chunk"
    detach
    wipefs -qa "$STORE"; dd if=/dev/zero of="$STORE" bs=1M count=1 oflag=direct status=none
    attach ublk $((chunk * 1024)) --persistent
    kept
    measure "umbra-P-$chunk" /dev/umbra/bench "$chunk"
    detach
    dd if=/dev/zero of="$STORE" bs=1M count=1 oflag=direct status=none
    for kind in N P; do
      snapshots 1 "$kind" "$chunk"
      measure "dm-$kind-$chunk" /dev/mapper/live "$chunk"
      no_snapshots
    done
    attach ublk $((chunk * 1024))
    for ((i = 0; i < 8; i++)); do shadow "$i"; done
    measure "umbra-8-$chunk" /dev/umbra/bench "$chunk"
    detach
    snapshots 8 N "$chunk"
    measure "dm-8-$chunk" /dev/mapper/live "$chunk"
    no_snapshots
  done
done

m() { median <"$WORK/$1"; }
for front in ublk fuse; do
  figure "VM, $front, no shadow copy, against the plain device" "$(ratio "$(m $front-idle)" "$(m plain)")" "" 0.8 more
  figure "VM, $front: first touch of each chunk against no shadow copy" "$(ratio "$(m $front-first)" "$(m $front-idle)")" "" 0.6 more
  figure "VM, $front: touched chunks against no shadow copy" "$(ratio "$(m $front-touched)" "$(m $front-idle)")" "" 0.95 more
done
for chunk in 4 64; do
  figure "VM, ublk: first touch against a transient dm-snapshot, chunks of $chunk KiB" "$(ratio "$(m "umbra-N-$chunk")" "$(m "dm-N-$chunk")")" "" 1.5 more
  figure "VM, ublk: first touch against a persistent dm-snapshot, chunks of $chunk KiB" "$(ratio "$(m "umbra-P-$chunk")" "$(m "dm-P-$chunk")")" "" 1.5 more
  figure "VM, ublk: first touch, 8 shadow copies against 8 dm-snapshots, chunks of $chunk KiB" "$(ratio "$(m "umbra-8-$chunk")" "$(m "dm-8-$chunk")")" "" 6 more
done
for what in plain ublk-idle ublk-first ublk-touched fuse-idle fuse-first fuse-touched {umbra,dm}-{N,P,8}-{4,64}; do
  printf 'ublk: %-12s %8.0f writes/s, %5.2f device operations and %6.0f bytes a write\n' "$what" "$(m "$what")" "$(m "$what.operations")" "$(m "$what.bytes")"
done >&2
