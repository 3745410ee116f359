#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches an image file without a device below: shadow copies as on a device; one user at a time, whoever it is; the file is the volume
# again after detach.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

ATTACHED=test-$$-image
file=$WORK/v.origin
truncate -s 300M "$file"
mkfs.ext4 -q -F "$file"

# In use by a loop device: refused, and the device is named.
loops_away() { losetup -nO NAME -j "$file" | xargs -r losetup -d; }
cleanup_fn loops_away
loop=$(losetup --find --show "$file")
expect_status 1 "$UMBRA" attach "$file" "$ATTACHED"
expect_output "in use by $loop"
loops_away

cleanup_fn attached_away "$ATTACHED"
"$UMBRA" attach "$file" "$ATTACHED" >/dev/null
expect_status 1 "$UMBRA" attach "$file" "$ATTACHED-2"
expect_output 'is locked by somebody else'
mkdir "$WORK/v"
cleanup_fn umount -R "$WORK/v"
mount "/dev/umbra/$ATTACHED" "$WORK/v"
cp -a "$TOP/cow" "$WORK/v/"
id=$("$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0] | select(.provider == "cow").id')
[ -n "$id" ] || fail "another provider was chosen"
rm -r "$WORK/v/cow"
cp -a "$TOP/docs" "$WORK/v/"
tree=$("$UMBRA" mount "$id")
diff -r "$TOP/cow" "$tree/cow" || fail "the shadow copy is not what the volume was"
"$UMBRA" unmount "$tree"
"$UMBRA" --quiet delete "$id"
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
fsck.ext4 -fn "$file" >/dev/null || fail "the file is no clean filesystem"
mount -o loop,ro "$file" "$WORK/v"
diff -r "$TOP/docs" "$WORK/v/docs" || fail "the file is not the volume"
umount "$WORK/v"

truncate -s +100 "$file"
expect_status 1 "$UMBRA" attach "$file" "$ATTACHED"
expect_output 'is no multiple of'
no_attached_left
