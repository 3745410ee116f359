#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test compares what volume/ calls allocated with the filesystem's own count, on ext4 and XFS, fragmented, before and after files
# come and go.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.xfs

allocated() { "$BUILD/tests/volume-show" --extents "$1" | jq -r '.[0].allocated_bytes'; }
used() { stat -f -c '%b %f %S' "$1" | awk '{ print ($1 - $2) * $3 }'; }

for type in ext4 xfs; do
  make_volume "$type" "$type" 320M
  v=$WORK/$type
  sync -f "$v"
  # Both count metadata differently at the edges (superblock copies, reserved blocks, the log): a constant of this volume.
  overhead=$(($(allocated "$v") - $(used "$v")))
  [ "$overhead" -ge $((-16 * 1024 * 1024)) ] || fail "$type: less than is used: overhead $overhead"

  # Fragmented: many small files, every second one gone again.
  head -c 20000 /dev/zero | tr '\0' x >"$WORK/block"
  for i in $(seq 400); do cp "$WORK/block" "$v/f$i"; done
  head -c 50M /dev/zero | tr '\0' y >"$v/big"
  fallocate -l 30M "$v/reserved"
  for i in $(seq 1 2 400); do rm "$v/f$i"; done
  sync -f "$v"
  before=$(allocated "$v")
  difference=$((before - $(used "$v") - overhead))
  [ "${difference#-}" -le $((4 * 1024 * 1024)) ] || fail "$type: $before allocated, $(used "$v") used, overhead $overhead"
  rm "$v/big" "$v/reserved"
  sync -f "$v"
  # XFS frees in the background, at the latest when it is unmounted.
  umount "$v"
  mount "$DEVICE" "$v"
  after=$(allocated "$v")
  [ $((before - after)) -ge $((78 * 1024 * 1024)) ] || fail "$type: 80 MiB removed, $((before - after)) bytes fewer allocated"
done

make_volume btrfs btrfs 128M 2>/dev/null
"$BUILD/tests/volume-show" --extents "$WORK/btrfs" | jq -r '.[0].allocated_error' | grep -q 'cannot tell' || fail "btrfs tells"
