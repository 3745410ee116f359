#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies a btrfs volume with subvolumes and snapshots in it: inode numbers, and in snapshots even all times, are the same in each, yet no
# file of one is taken for a file of another; a snapshot made right before the hold is in the copy.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.btrfs btrfs

make_volume v btrfs 300M
volume=$WORK/v
btrfs -q subvolume create "$volume/sub"
echo top >"$volume/a"; ln "$volume/a" "$volume/b"
echo nested >"$volume/sub/a"; ln "$volume/sub/a" "$volume/sub/b"
[ "$(stat -c %i "$volume/a")" = "$(stat -c %i "$volume/sub/a")" ] || fail "the inode numbers are not the same"
settled() { [ -z "$(find "$volume" -newerct '3 seconds ago')" ]; }
wait_for 30 settled || fail "files stay new"
copy_of "$volume" --named \
  --precommitted "btrfs -q subvolume snapshot $volume/sub $volume/snap; btrfs -q subvolume create $volume/new; echo n >$volume/new/a; ln $volume/new/a $volume/new/z" \
  --then "$SAME_TREE $volume \$IMAGE" || fail "the copy differs"
echo more >>"$volume/sub/a"
copy_of "$volume" --named --then "$SAME_TREE $volume \$IMAGE" || fail "the refreshed copy differs"
