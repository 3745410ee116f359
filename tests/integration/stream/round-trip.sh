#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies a tree of 10,000 files of every kind, with every attribute, access control list, hole and name, through streams that are cut anywhere, on ext4 and on
# XFS: the copy is the same, and each file's streams are what the documents of others say, by a reader that shares nothing with ours.
# timeout: 600
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program mkfs.ext4 mkfs.xfs

SEED=${UMBRA_SEED:-$RANDOM}
echo "UMBRA_SEED=$SEED"
for type in ext4 xfs; do
  make_volume "$type" "$type" 800M
  cd "$WORK/$type"
  mkdir to streams
  "$TOP/tests/lib/streams.py" tree from 5000 "$SEED"
  "$BUILD/tests/stream-tree" from to streams "$SEED" || fail "$type: the copy"
  sync -f .
  "$TOP/tests/lib/streams.py" same from to || fail "$type: the copy is another tree"
  "$TOP/tests/lib/streams.py" all streams/list || fail "$type: the streams"
  cd /
done
