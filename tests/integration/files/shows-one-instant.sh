#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test proves with ordered operations (write, mapped store, O_DIRECT, rename, unlink, truncate) that a copy of files
# shows its volume exactly as it was while it was frozen, on ext4, XFS and btrfs, with the storage beside and on it.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/order.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs mkfs.btrfs
SETS=${SETS:-4}

for type in ext4 xfs btrfs; do
  make_volume "$type" $type 300M
  order_start "$WORK/$type"
  mkdir "$WORK/$type/storage"
  for ((i = 0; i < SETS; i++)); do
    STORE_IN=$STORAGE
    [ $((i % 2)) = 0 ] || STORE_IN=$WORK/$type/storage
    order_advance 200
    copy_of "$WORK/$type" --named --held "cp '$WORK/progress' '$WORK/held'" \
      --then "cp -a --no-preserve=links \$IMAGE/order '$WORK/copy'" || fail "no copy of $type"
    # What had returned before the volume was frozen, and at most the operation that was under way then.
    held=$((10#$(cat "$WORK/held")))
    order_judge "$held" $((held + 1)) "$WORK/copy"
    echo "$type: state after operation $K, frozen at $held"
    rm -rf "$WORK/copy"
  done
  order_stop
done
