#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test puts the store on the volume itself: on XFS and btrfs the copy shares its blocks with the live files and takes no space; on ext4 it
# takes the space of the files; nowhere does it copy itself.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs mkfs.btrfs

for type in xfs btrfs ext4; do
  make_volume "$type" $type 400M
  volume=$WORK/$type
  mkdir "$volume/store" "$volume/data"
  for i in 1 2 3; do head -c 10M /dev/urandom >"$volume/data/$i"; done
  sync -f "$volume"
  before=$(df --output=used -k "$volume" | tail -1)
  STORE_IN=$volume/store copy_of "$volume" \
    --then "sync -f $volume; df --output=used -k $volume | tail -1 >$WORK/used; ls \$IMAGE/store >$WORK/in-store; $SAME_TREE $volume/data \$IMAGE/data" ||
    fail "$type: the copy differs"
  taken=$(($(cat "$WORK/used") - before)) counted=$(awk '$1 == "storage_bytes" { print $2 }' "$WORK/drive")
  [ ! -s "$WORK/in-store" ] || fail "$type: the copy has the store in it"
  if [ $type = ext4 ]; then
    [ $taken -ge 30000 ] && [ "$counted" -ge 30000000 ] || fail "$type: only $taken KiB taken, $counted bytes counted"
  else
    [ $taken -lt 4000 ] && [ "$counted" -lt 4000000 ] || fail "$type: $taken KiB taken, $counted bytes counted"
  fi
done
