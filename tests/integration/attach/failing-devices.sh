#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets the device that storage is on fail in the middle: the live volume goes on without an error, the shadow copies are dropped with
# the reason, and new ones can be made when it works again. Then the volume's own device: its user gets the error, as without umbra, and what
# could be written is on it. Both are devices over sparse files on a filesystem that is full: reads work, writes fail.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3 fio

create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }
# fails_after NAME MIB: a device of 400 MiB, of which that many can be written; sets FAILING; room_again NAME: and then all of it
fails_after() {
  mkdir "$WORK/$1.under"
  cleanup_fn umount "$WORK/$1.under"
  mount -t tmpfs -o "size=${2}M" none "$WORK/$1.under"
  truncate -s 400M "$WORK/$1.under/device"
  FAILING=$(losetup --find --show "$WORK/$1.under/device")
  cleanup_fn losetup -d "$FAILING"
}
room_again() { mount -o remount,size=1G "$WORK/$1.under"; }

fails_after storage 30
attached_volume v ext4 300M --storage "$FAILING" --limit 300000000 --chunk 4096
dd if=/dev/urandom of="$WORK/v/data" bs=1M count=100 conv=fsync status=none
sha256sum <"$WORK/v/data" >"$WORK/sum"
id=$(create)
fio --thread --name=on --filename="$WORK/v/data" --size=100M --rw=randwrite --bs=4k-64k --ioengine=io_uring --iodepth=32 --direct=1 \
  --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --output="$WORK/fio.out" || { cat "$WORK/fio.out" >&2; fail "the live volume failed with its storage"; }
"$UMBRA" --json show "$id" >"$WORK/show"
grep -q 'could not be stored' "$WORK/show" || { cat "$WORK/show" >&2; fail "it is not told why the shadow copy is gone"; }
expect_status 1 "$UMBRA" mount "$id"
expect_output 'could not be stored'
"$UMBRA" --quiet delete --all
room_again storage
sha256sum <"$WORK/v/data" >"$WORK/sum"
id=$(create)
dd if=/dev/urandom of="$WORK/v/data" bs=1M count=100 conv=notrunc,fsync status=none
tree=$("$UMBRA" mount "$id")
sha256sum <"$tree/data" | cmp - "$WORK/sum" || fail "a shadow copy on storage that works again is wrong"
"$UMBRA" unmount "$tree"
"$UMBRA" --quiet delete --all
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
no_attached_left

# The volume's own. Without a filesystem, so that it is the device's errors that are seen.
fails_after origin 40
"$UMBRA" attach "$FAILING" "$ATTACHED" >/dev/null
expect_status 1 dd if=/dev/urandom of="/dev/umbra/$ATTACHED" bs=1M count=100 oflag=direct
expect_output 'No space left on device|Input/output error'
written=$(awk '/records out/ { print $1 + 0 }' "$WORK/output")
[ "$written" -ge 30 ] && [ "$written" -lt 41 ] || fail "$written MiB were written of 40"
dd if="/dev/umbra/$ATTACHED" bs=1M count="$written" iflag=direct status=none | cmp - <(dd if="$FAILING" bs=1M count="$written" iflag=direct status=none) ||
  fail "what was written is not on the device"
room_again origin
dd if=/dev/urandom of="/dev/umbra/$ATTACHED" bs=1M count=100 oflag=direct status=none || fail "a device that works again is not used"
"$UMBRA" detach "$ATTACHED"
no_attached_left
