#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What does it cost to be attached: 4 KiB random writes (io_uring, depth 32) and 1 MiB sequential ones without shadow copies against a plain
# direct-I/O loop device over the same file, by an attached file and by that loop device attached; the first touch of each chunk, touched chunks, 64 shadow copies against one; how long a volume of 1 TiB is held.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
. "$TOP/tests/lib/attached.sh"
requires_root
requires_program fio jq

SIZE_MIB=${SIZE_MIB:-512} SECONDS_EACH=${SECONDS_EACH:-4} ROUNDS=${ROUNDS:-3} CHUNK=4096
# rate DEVICE [FIO OPTION...]: writes a second
rate() {
  local device=$1; shift
  fio --name=rate --filename="$device" --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --direct=1 --size="${SIZE_MIB}M" \
    --output-format=json "$@" | jq '.jobs[0].write.iops'
}
timed=(--time_based "--runtime=$SECONDS_EACH")
# attach [ORIGIN [ATTACH OPTION...]]
attach() { "$UMBRA" --quiet attach "${1:-$WORK/p.origin}" "$ATTACHED" --storage "$WORK" --limit 4000000000 --chunk "$CHUNK" "${@:2}" >/dev/null; }
# ask REQUEST: of the volume's server, without a filesystem that could be held
ask() {
  python3 -c 'import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(30); s.connect(sys.argv[1])
for request in sys.argv[2:]:
  s.send(request.encode()); reply = s.recv(65536).decode()
  if "error" in reply: sys.exit(reply)' "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/control" "$@"
}
shadow() { ask "{\"do\":\"begin\",\"id\":\"$1\"}" "{\"do\":\"commit\",\"id\":\"$1\"}"; }

ATTACHED=bench-$$ device=/dev/umbra/bench-$$ ORIGIN=
dd if=/dev/urandom of="$WORK/p.origin" bs=1M count="$SIZE_MIB" oflag=direct status=none
plain_away() { losetup -nO NAME -j "$WORK/p.origin" | xargs -r losetup -d; }
cleanup_fn plain_away
cleanup_fn attached_away "$ATTACHED"
for ((i = 0; i < ROUNDS; i++)); do
  ORIGIN=$(losetup --find --show --direct-io=on "$WORK/p.origin")
  rate "$ORIGIN" "${timed[@]}" >>"$WORK/plain"
  rate "$ORIGIN" --rw=write --bs=1M "${timed[@]}" >>"$WORK/plain-large"
  attach "$ORIGIN"
  rate "$device" "${timed[@]}" >>"$WORK/idle-over-loop"
  rate "$device" --rw=write --bs=1M "${timed[@]}" >>"$WORK/idle-large-over-loop"
  "$UMBRA" detach --force "$ATTACHED"
  plain_away
  attach
  rate "$device" "${timed[@]}" >>"$WORK/idle"
  rate "$device" --rw=write --bs=1M "${timed[@]}" >>"$WORK/idle-large"
  # Each chunk once, in random order; then as long as the others.
  shadow "one-$i"
  rate "$device" --norandommap=0 --io_size="${SIZE_MIB}M" >>"$WORK/first"
  rate "$device" "${timed[@]}" >>"$WORK/touched"
  for ((n = 0; n < 63; n++)); do shadow "more-$n"; done
  rate "$device" --io_size="${SIZE_MIB}M" >>"$WORK/first-64"
  "$UMBRA" detach --force "$ATTACHED"
  attach "$WORK/p.origin" --persistent
  ask '{"do":"begin","id":"kept","keep":true}' '{"do":"commit","id":"kept"}' '{"do":"settle","id":"kept"}'
  rate "$device" --norandommap=0 --io_size="${SIZE_MIB}M" >>"$WORK/first-persistent"
  "$UMBRA" detach --force "$ATTACHED"
  rm "$WORK/umbra-$ATTACHED.storage"
done
# Space that an XFS had free, without and with a shadow copy of it: each chunk once, in random order. -K: the file keeps its blocks.
free_is_known() { [ "$(attached_status "$ATTACHED" free_known)" = True ]; }
mkdir "$WORK/f"
cleanup_fn umount "$WORK/f"
for ((i = 0; i < ROUNDS; i++)); do
  attach
  mkfs.xfs -q -f -K -d agcount=2 "$device"
  read -r offset bytes < <("$BUILD/tests/free-space-show" "$device" | sort -k 2 -n | tail -n 1)
  space=("--offset=$offset" "--size=$bytes" --norandommap=0 "--io_size=$bytes")
  rate "$device" "${space[@]}" >>"$WORK/free-idle"
  mount "$device" "$WORK/f"
  "$UMBRA" --quiet create --no-writers "$WORK/f" >/dev/null
  wait_for 60 free_is_known || fail "what is free was not learned"
  unmount_alone "$WORK/f"
  rate "$device" "${space[@]}" >>"$WORK/free"
  [ "$(attached_status "$ATTACHED" chunks_left_out)" -ge $((bytes * 9 / 10 / CHUNK)) ] || fail "free chunks were copied"
  "$UMBRA" detach --force "$ATTACHED"
done
m() { median <"$WORK/$1"; }
figure "attached file, no shadow copy, against a plain loop device: 4 KiB random writes" "$(ratio "$(m idle)" "$(m plain)")" "" 0.8 more
figure "attached file, no shadow copy, against a plain loop device: 1 MiB sequential" "$(ratio "$(m idle-large)" "$(m plain-large)")" "" 0.9 more
figure "attached loop device, no shadow copy, against itself (one more loop device on the way): 4 KiB random writes" \
  "$(ratio "$(m idle-over-loop)" "$(m plain)")" "" 0.8 more
figure "attached loop device, no shadow copy, against itself (one more loop device on the way): 1 MiB sequential" \
  "$(ratio "$(m idle-large-over-loop)" "$(m plain-large)")" "" 0.9 more
figure "attached: first touch of each chunk against no shadow copy" "$(ratio "$(m first)" "$(m idle)")" "" 0.6 more
figure "attached: touched chunks against no shadow copy" "$(ratio "$(m touched)" "$(m idle)")" "" 0.95 more
figure "attached: first touch of each chunk that was free against no shadow copy" "$(ratio "$(m free)" "$(m free-idle)")" "" 0.9 more
figure "attached: first touch under 64 shadow copies against one" "$(ratio "$(m first-64)" "$(m first)")" "" 0.95 more
figure "attached: first touch of each chunk, persistent against volatile" "$(ratio "$(m first-persistent)" "$(m first)")" "" 0.5 more
echo "attached: writes/s: plain $(m plain), idle $(m idle), over a loop device $(m idle-over-loop), first touch $(m first), of what was free $(m free), touched $(m touched), 64: $(m first-64), persistent $(m first-persistent)" >&2

# The first touch (one write into each 64 KiB, which is what the other copies as one) through another copy-before-write on the same kind of
# front: a FUSE file under a loop device, the same files.
# each_64k DEVICE: writes a second, 4 KiB into each 64 KiB, once, in random order
each_64k() {
  { echo "fio version 2 iolog"; echo "$1 add"; echo "$1 open"
    seq 0 $((SIZE_MIB * 16 - 1)) | shuf --random-source=<(yes) | awk -v d="$1" '{ printf "%s write %.0f 4096\n", d, $1 * 65536 }'
    echo "$1 close"; } >"$WORK/each"
  fio --name=each --read_iolog="$WORK/each" --ioengine=io_uring --iodepth=32 --direct=1 --output-format=json | jq '.jobs[0].write.iops'
}
if command -v qemu-storage-daemon >/dev/null; then
  for ((i = 0; i < ROUNDS; i++)); do
    attach
    shadow "sparse-$i"
    each_64k "$device" >>"$WORK/first-sparse"
    "$UMBRA" detach --force "$ATTACHED"
    rm -f "$WORK/other.target"
    truncate -s "${SIZE_MIB}M" "$WORK/other.target"
    touch "$WORK/other.volume"
    qemu-storage-daemon --blockdev "driver=file,node-name=o,filename=$WORK/p.origin,cache.direct=on,aio=native" \
      --blockdev "driver=file,node-name=t,filename=$WORK/other.target,cache.direct=on,aio=native,discard=unmap" \
      --blockdev driver=copy-before-write,node-name=c,file=o,target=t \
      --export "type=fuse,id=e,node-name=c,mountpoint=$WORK/other.volume,writable=on" --pidfile "$WORK/other.pid" &
    cleanup_fn kill_and_wait $!
    wait_for 20 mountpoint -q "$WORK/other.volume" || fail "qemu-storage-daemon did not start"
    other=$(losetup --find --show --direct-io=on "$WORK/other.volume")
    each_64k "$other" >>"$WORK/other"
    losetup -d "$other"
    kill -TERM "$!"
    wait "$!" || true
  done
  figure "attached: first touch, writes/s, against qemu-storage-daemon's copy-before-write on its FUSE export" \
    "$(ratio "$(m first-sparse)" "$(m other)")" "" 2.5 more
  echo "attached: writes/s, one in each 64 KiB: $(m first-sparse), qemu-storage-daemon $(m other)" >&2
else
  echo "attached: qemu-storage-daemon is not installed: not compared" >&2
fi

# 1 TiB, sparse.
attached_volume t ext4 1T --limit 1000000000
for ((i = 0; i < 9; i++)); do
  bare_freeze_ms "$WORK/t" >>"$WORK/bare"
  "$UMBRA" --quiet --json create --no-writers "$WORK/t" | jq .set.hold_ms >>"$WORK/hold"
done
figure "attached: hold of a volume of 1 TiB beyond the bare freeze, median" \
  "$(awk -v h="$(m hold)" -v b="$(m bare)" 'BEGIN { d = h - b; print (d > 0 ? d : 0) }')" " ms" 10
memory=$(attached_status "$ATTACHED" memory_bytes)
figure "attached: memory of the arena for 1 TiB at 16 KiB" "$((memory / 1048576))" " MiB" 64
"$UMBRA" --quiet delete --all
