#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test keeps a clone in storage that was named and refreshes it: only what changed is copied and the result is the frozen device; and
# wherever the kept image cannot be trusted (loop device set up anew, image or description touched) all is copied again.
# timeout: 180
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/clone.sh"
requires_program mkfs.ext4

mkdir "$WORK/storage"
cleanup_fn drop_kept
drop_kept() {
  rm -rf "$WORK/storage"; mkdir "$WORK/storage"
  # Any clone removed ends the tracking of kept images that are gone.
  echo '{}' >"$WORK/empty"; drive --remove clone "$WORK/empty"
}
# A loop device that nobody else takes when it is free for a moment.
truncate -s 200M "$WORK/v.img"; mkfs.ext4 -q "$WORK/v.img"
DEVICE=/dev/loop$((1000 + $$ % 1000)); mkdir "$WORK/v"
cleanup_fn losetup -d "$DEVICE"; cleanup_fn umount "$WORK/v"
losetup "$DEVICE" "$WORK/v.img" && mount "$DEVICE" "$WORK/v" || fail "setting up the volume"
dd if=/dev/urandom of="$WORK/v/base" bs=1M count=40 status=none; sync -f "$WORK/v"
# clone_named: sets COPIED, the bytes of the first round
clone_named() {
  drive --named --held "$(save_frozen "$DEVICE")" --then "$(save_image)" clone "$WORK/v" "$WORK/storage" >"$WORK/record" 2>"$WORK/log" || { cat "$WORK/log"; fail "clone"; }
  COPIED=$(sed -n 's/^phase copy of \([0-9]*\) bytes$/\1/p' "$WORK/log" | head -n 1)
  check_image ext4 "$WORK/frozen" "$WORK/copy"
  [ "$(ls "$WORK/storage" | tr '\n' ' ')" = "$KEPT.image $KEPT.json " ] || fail "storage has: $(ls "$WORK/storage")"
}
KEPT=kept-$((0x$(stat -c %t "$DEVICE")))-$((0x$(stat -c %T "$DEVICE")))
change() {
  dd if=/dev/urandom of="$WORK/v/base" bs=4k seek=$((RANDOM % 10000)) count=100 conv=notrunc status=none
  echo "$RANDOM" >"$WORK/v/new"; sync -f "$WORK/v"
}

clone_named; [ "$COPIED" -gt 40000000 ] || fail "the first clone copied $COPIED bytes"
change
clone_named; [ "$COPIED" -lt 5000000 ] || fail "the second clone copied $COPIED bytes"
busy_writers "$WORK/v" 60
clone_named; clone_named
stop_writers
clone_named

# Two shadow copies at once: the kept image is only one's.
drive --named --then "$(printf '%q ' timeout 120 "$BUILD/tests/provider-drive" --named clone "$WORK/v" "$WORK/storage") >$WORK/inner 2>$WORK/inner-log" \
  clone "$WORK/v" "$WORK/storage" >"$WORK/record" 2>"$WORK/log" || fail "two at once"
[ "$(sed -n 's/^phase copy of \([0-9]*\) bytes$/\1/p' "$WORK/inner-log" | head -n 1)" -gt 40000000 ] || fail "one image served two shadow copies"
clone_named; [ "$COPIED" -lt 5000000 ] || fail "after two at once $COPIED bytes were copied"

# A touched image, a touched description, tracking that is gone.
printf x | dd of="$WORK/storage/$KEPT.image" bs=1 seek=5000000 conv=notrunc status=none
clone_named; [ "$COPIED" -gt 40000000 ] || fail "a touched image was believed"
sed -i 's/"uuid": "./"uuid": "z/' "$WORK/storage/$KEPT.json"
clone_named; [ "$COPIED" -gt 40000000 ] || fail "a touched description was believed"
rm -r "/sys/fs/bpf/umbra/$(jq -r .track "$WORK/storage/$KEPT.json")"
clone_named; [ "$COPIED" -gt 40000000 ] || fail "an image without tracking was believed"

# Another disk under the same number: nothing was written through it, and yet all of it differs.
cp --sparse=always "$WORK/v.img" "$WORK/other.img"
mkdir "$WORK/other"
mount -o loop "$WORK/other.img" "$WORK/other" && dd if=/dev/urandom of="$WORK/other/base" bs=1M count=40 conv=notrunc status=none && umount "$WORK/other" || fail "changing the other disk"
umount "$WORK/v"; losetup -d "$DEVICE"
# Other mount namespaces may hold the volume a little longer.
wait_for 60 losetup "$DEVICE" "$WORK/other.img" || fail "setting up the other disk"
mount "$DEVICE" "$WORK/v"
clone_named; [ "$COPIED" -gt 40000000 ] || fail "the image of another disk was believed"

drop_kept
nothing_pinned
