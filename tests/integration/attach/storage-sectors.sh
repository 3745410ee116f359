#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives a volume with sectors of 512 bytes storage with sectors of 4096: a device is refused with the reason and leaves nothing;
# a directory on such a device is taken, and shadow copies can be read sector by sector. The other way round is no matter.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3 mkfs.ext4 mkfs.xfs

# large_sectors NAME SIZE: a device with sectors of 4096 bytes; sets LARGE
large_sectors() {
  truncate -s "$2" "$WORK/$1.large"
  LARGE=$(losetup --find --show --sector-size 4096 "$WORK/$1.large")
  cleanup_fn losetup -d "$LARGE"
  [ "$(blockdev --getss "$LARGE")" = 4096 ] || fail "$LARGE has other sectors"
}

truncate -s 100M "$WORK/plain.origin"
ORIGIN=$(losetup --find --show --direct-io=on "$WORK/plain.origin")
cleanup_fn losetup -d "$ORIGIN"
large_sectors device 100M
ATTACHED=test-$$-plain
cleanup_fn attached_away "$ATTACHED"
expect_status 1 "$UMBRA" attach --storage "$LARGE" "$ORIGIN" "$ATTACHED"
expect_output "storage '$LARGE' has sectors of 4096 bytes, the volume of 512.*take a device with sectors of at most 512 bytes, or a directory"
no_attached_left
losetup -d "$ORIGIN"

for type in ext4 xfs; do
  large_sectors "$type" 400M
  "mkfs.$type" -q "$LARGE"
  mkdir "$WORK/on-$type"
  cleanup_fn umount "$WORK/on-$type"
  mount "$LARGE" "$WORK/on-$type"
  attached_device "$type" 100M --storage "$WORK/on-$type"
  mkdir "$WORK/v"
  cleanup_fn umount "$WORK/v"
  mkfs.ext4 -q -F "/dev/umbra/$ATTACHED"
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  echo before >"$WORK/v/file"
  # Nearly nothing is free: what is would not be copied.
  ! dd if=/dev/zero of="$WORK/v/full" bs=1M conv=fsync status=none 2>"$WORK/dd" || fail "the volume does not become full"
  id=$("$UMBRA" --json create --no-writers --provider cow "$WORK/v" | jq -r '.set.shadows[0].id')
  image=$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$id
  sum=$(dd if="$image" bs=10M count=1 iflag=fullblock status=none | sha256sum)
  unmount_alone "$WORK/v"
  dd if=/dev/urandom of="/dev/umbra/$ATTACHED" bs=1M count=20 oflag=direct status=none
  [ "$(attached_status "$ATTACHED" chunks_copied)" -ge 1000 ] || fail "$type: nothing was copied: nothing is proven"
  [ "$(dd if="$image" bs=512 count=20480 iflag=direct status=none | sha256sum)" = "$sum" ] || fail "$type: the shadow copy cannot be read by the sector"
  tree=$("$UMBRA" mount "$id")
  [ "$(cat "$tree/file")" = before ] || fail "$type: the shadow copy is not what the volume was"
  "$UMBRA" --quiet delete --all
  "$UMBRA" detach "$ATTACHED"
  no_attached_left
  umount "$WORK/on-$type"
  rmdir "$WORK/v"
done

# Storage with smaller sectors than the volume's.
large_sectors origin 100M
ATTACHED=test-$$-large
cleanup_fn attached_away "$ATTACHED"
"$UMBRA" attach --storage "$ORIGIN" "$LARGE" "$ATTACHED" >/dev/null
[ "$(blockdev --getss "/dev/umbra/$ATTACHED")" = 4096 ] || fail "the volume has other sectors than its device"
"$UMBRA" detach "$ATTACHED"
no_attached_left
