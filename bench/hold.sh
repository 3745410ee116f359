#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How long is a volume held, against the bare FIFREEZE and FITHAW of the same volume under the same load (20 MB/s of random writes),
# interleaved? And four volumes in one set against one; and a btrfs set.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program fio

ROUNDS=${ROUNDS:-25}
hold_ms() {
  local set
  set=$("$UMBRA" --quiet --json create --no-writers "$@")
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")"
  jq .set.hold_ms <<<"$set"
}

for v in a b c d; do make_volume "$v" ext4 256M; done
start_random_writes "$WORK/a" 20
for ((i = 0; i < ROUNDS; i++)); do
  bare_freeze_ms "$WORK/a" >>"$WORK/bare"
  hold_ms --provider clone "$WORK/a" >>"$WORK/clone"
done
figure "clone: hold, median, against the bare freeze" "$(ratio "$(median <"$WORK/clone")" "$(median <"$WORK/bare")")" "" 1
figure "clone: hold, 99th percentile, against the bare freeze" "$(ratio "$(percentile 99 <"$WORK/clone")" "$(percentile 99 <"$WORK/bare")")" "" 1
echo "hold: clone $(median <"$WORK/clone") ms, bare $(median <"$WORK/bare") ms (medians of $ROUNDS)" >&2

# The same 20 MB/s, over four volumes: on one disk, whose flushes go one after the other whoever asks, and in memory, where nobody
# waits for a disk. What the bare freeze takes for four side by side is said beside it.
kill_and_wait "$LOAD"
rm "$WORK/a/load.0.0"
# four_against_one WHERE VOLUME...
four_against_one() {
  local where=$1 v; shift
  rm -f "$WORK"/{one,four,bare-one,bare-four}
  for v in "$@"; do start_random_writes "$v" 5; done
  for ((i = 0; i < ROUNDS; i++)); do
    hold_ms --provider clone "$1" >>"$WORK/one"
    hold_ms --provider clone "$@" >>"$WORK/four"
    bare_freeze_ms "$1" >>"$WORK/bare-one"
    bare_freeze_ms "$@" >>"$WORK/bare-four"
  done
  figure "clone: hold of four volumes $where in one set against one of them" "$(ratio "$(median <"$WORK/four")" "$(median <"$WORK/one")")" "" 1.5
  figure "clone: hold of four volumes $where against the bare freeze of the four side by side" \
    "$(ratio "$(median <"$WORK/four")" "$(median <"$WORK/bare-four")")" "" 1
  echo "hold: $where: one $(median <"$WORK/one") ms, four $(median <"$WORK/four") ms; bare: $(median <"$WORK/bare-one") ms," \
    "$(median <"$WORK/bare-four") ms" >&2
}
four_against_one "on one disk" "$WORK"/{a,b,c,d}
memory=$(mktemp -d /dev/shm/umbra-bench.XXXXXXXX)
cleanup_fn rm -rf "$memory"
for v in f g h i; do
  truncate -s 256M "$memory/$v.img"
  ln -s "$memory/$v.img" "$WORK/$v.img"
  make_volume "$v" ext4 256M
done
four_against_one "in memory" "$WORK"/{f,g,h,i}

make_volume e btrfs 256M
start_random_writes "$WORK/e" 20 64M
for ((i = 0; i < 5; i++)); do hold_ms "$WORK/e" >>"$WORK/btrfs"; done
figure "btrfs: hold" "$(percentile 99 <"$WORK/btrfs")" " ms" 0
