#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test asks for snapshots where btrfs cannot make one or where it would not be private, and gets the reason in words and
# nothing left behind.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.btrfs btrfs mkswap swapon setpriv

make_volume v btrfs 256M 2>/dev/null
v=$WORK/v device=$DEVICE
mkdir "$WORK/storage" "$WORK/other" "$v/plain"

refused() {
  "$BUILD/tests/provider-drive" btrfs "$1" "$WORK/storage" >/dev/null 2>"$WORK/messages" && fail "a snapshot was made: $2"
  grep -q "$2" "$WORK/messages" || fail "'$2' is not in: $(cat "$WORK/messages")"
  [ -z "$(btrfs subvolume list "$v" | grep umbra)" ] || fail "left behind: $(btrfs subvolume list "$v")"
}

make_volume e ext4 16M
refused "$WORK/e" "it is ext4 and not btrfs"

# A directory of somebody else's, or open to others: the snapshot would show users what was closed to them since.
mkdir -m 755 "$v/.umbra"
refused "$v" "must belong to root and be closed to others"
mkdir -m 700 "$v/.umbra"
chown nobody "$v/.umbra"
refused "$v" "must belong to root and be closed to others"
mkdir "$WORK/trap"
ln -s "$WORK/trap" "$v/.umbra"
refused "$v" "opening the directory '.umbra'"
[ -z "$(ls -A "$WORK/trap")" ] || fail "followed a symlink"
rm "$v/.umbra"

# Swap file, also in a nested subvolume.
for where in . nested; do
  [ "$where" = . ] || btrfs subvolume create "$v/nested" >/dev/null
  swap=$v/$where/swap
  touch "$swap"
  chattr +C "$swap"
  fallocate -l 8M "$swap"
  chmod 600 "$swap"
  mkswap "$swap" >/dev/null
  cleanup_fn swapoff "$swap"
  swapon "$swap" || skip "swap files cannot be used here"
  refused "$v" "until swapoff"
  [ ! -e "$v/.umbra" ] || fail "left behind: .umbra"
  swapoff "$swap"
done

# A bind mount of a plain directory, when nothing shows the subvolume itself.
cleanup_fn umount "$WORK/other"
mount --bind "$v/plain" "$WORK/other"
umount "$v"
"$BUILD/tests/provider-drive" btrfs "$WORK/other" "$WORK/storage" >/dev/null 2>"$WORK/messages" && fail "a snapshot of a directory"
grep -q "shows the directory '/plain' and not the root of its subvolume" "$WORK/messages" || fail "$(cat "$WORK/messages")"
umount "$WORK/other"

mount -o ro "$device" "$v"
refused "$v" "mounted read-only"
mount -o remount,rw "$v"
btrfs property set "$v/nested" ro true
mount -o subvol=nested "$device" "$WORK/other"
refused "$WORK/other" "set read-only"
chmod 755 "$WORK" "$WORK/storage"
btrfs property set "$v/nested" ro false
setpriv --reuid=nobody --regid=nogroup --clear-groups "$BUILD/tests/provider-drive" btrfs "$v" "$WORK/storage" >/dev/null 2>"$WORK/messages" && fail "as nobody"
grep -q "need root" "$WORK/messages" || fail "$(cat "$WORK/messages")"
