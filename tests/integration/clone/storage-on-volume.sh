#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test keeps the image on the very volume that is cloned, under load: it converges, everything but the image itself is the frozen
# volume's, and removing it leaves nothing.
# timeout: 180
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/clone.sh"
requires_program mkfs.ext4 mkfs.xfs

# same_tree FSTYPE: all files but those in the storage are the same in the frozen device and in the image
same_tree() {
  local options=ro,noload
  [ "$1" != xfs ] || options=ro,norecovery,nouuid
  mkdir -p "$WORK/a" "$WORK/b"
  mount -t "$1" -o "loop,$options" "$WORK/frozen" "$WORK/a" && mount -t "$1" -o "loop,$options" "$WORK/copy" "$WORK/b" || fail "mounting"
  diff -r --no-dereference --exclude=storage "$WORK/a" "$WORK/b" || fail "the shadow copy of $1 differs"
  [ "$(ls "$WORK/b/churn" | wc -l)" -gt 0 ] || fail "nothing was compared"
  umount "$WORK/a" "$WORK/b"
}

for type in ext4 xfs; do
  make_volume "$type" "$type" 400M
  mkdir "$WORK/$type/storage"
  dd if=/dev/urandom of="$WORK/$type/base" bs=1M count=30 status=none
  busy_writers "$WORK/$type" 60
  drive --persistent --held "$(save_frozen "$DEVICE")" --then "$(save_image)" clone "$WORK/$type" "$WORK/$type/storage" >"$WORK/record" || fail "clone of $type into itself"
  [ -z "$(ls -A "$WORK/$type/storage")" ] || fail "something was left in the storage"
  stop_writers
  same_tree "$type"
  # Without a name it cannot be left, whatever happens.
  drive --auto-release --then 'test -s "$IMAGE" && [ "$(stat -Lc %h "$IMAGE")" = 0 ]' clone "$WORK/$type" "$WORK/$type/storage" >"$WORK/record" || fail "nameless clone"
  [ -z "$(ls -A "$WORK/$type/storage")" ] || fail "a nameless image left a name"
done
