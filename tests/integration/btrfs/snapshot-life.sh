#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes a btrfs volume with nested subvolumes through the life of a shadow copy: what it shows, who may see it, and
# its removal by another process, also when the volume is mounted elsewhere by then.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.btrfs btrfs

drive=$BUILD/tests/provider-drive
make_volume v btrfs 256M 2>/dev/null
v=$WORK/v
mkdir "$WORK/storage" "$v/dir"
for s in n1 n1/n2 dir/n3; do
  btrfs subvolume create "$v/$s" >/dev/null
  echo "before in $s" >"$v/$s/file"
done
echo before >"$v/file"
# Something mounted over a nested subvolume does not hide it from its snapshot.
cleanup_fn umount "$v/n1/n2"
mount -t tmpfs none "$v/n1/n2"

export v
"$drive" --keep --thawed 'echo after >$v/file; echo after >$v/n1/file; rm $v/dir/n3/file' btrfs "$v" "$WORK/storage" \
  >"$WORK/record" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
grep -q 'instant lost' "$WORK/messages" && fail "a quiet volume is one instant"
umount "$v/n1/n2"

record() { jq -r "$1" "$WORK/record"; }
nested() { record ".view.nested[] | select(.at == \"$1\") | .path"; }
tree=$(record .view.path)
[ "$(cat "$tree/file")" = before ] || fail "the root's file: $(cat "$tree/file")"
for s in n1 n1/n2 dir/n3; do
  [ "$(cat "$(nested "$s")/file")" = "before in $s" ] || fail "nested $s: $(cat "$(nested "$s")/file")"
done
[ "$(record '.view.nested | length')" = 3 ] || fail "nested: $(record .view.nested)"
touch "$tree/new" 2>/dev/null && fail "it can be written"
[ "$(stat -c %u:%a "$v/.umbra")" = 0:700 ] || fail "others may look: $(stat -c %u:%a "$v/.umbra")"

# Snapshots are not part of the next one.
"$drive" btrfs "$v" "$WORK/storage" >"$WORK/second" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(jq '.view.nested | length' "$WORK/second")" = 3 ] || fail "snapshots of snapshots: $(cat "$WORK/second")"

# Not removed while it is shown somewhere.
mkdir "$WORK/shown"
cleanup_fn umount "$WORK/shown"
mount --bind "$tree" "$WORK/shown"
"$drive" --remove btrfs "$WORK/record" 2>"$WORK/messages" && fail "removed while mounted"
grep -q "mounted at '$WORK/shown'" "$WORK/messages" || fail "$(cat "$WORK/messages")"
umount "$WORK/shown"

# Nowhere mounted: says what to do. Mounted elsewhere, through another mount: found.
umount "$v"
"$drive" --remove btrfs "$WORK/record" 2>"$WORK/messages" && fail "removed from a volume that is not mounted"
grep -q "once at '$v', is not mounted: mount it" "$WORK/messages" || fail "$(cat "$WORK/messages")"
mkdir "$WORK/elsewhere"
cleanup_fn umount "$WORK/elsewhere"
mount -o ro "$DEVICE" "$WORK/elsewhere"
"$drive" --remove btrfs "$WORK/record" 2>"$WORK/messages" && fail "removed from a read-only mount"
mount -o remount,rw "$WORK/elsewhere"
"$drive" --remove btrfs "$WORK/record" || fail "removal"
[ ! -e "$WORK/elsewhere/.umbra" ] || fail "left behind: $(ls -laR "$WORK/elsewhere/.umbra")"
[ "$(btrfs subvolume list "$WORK/elsewhere" | wc -l)" = 3 ] || fail "$(btrfs subvolume list "$WORK/elsewhere")"
"$drive" --remove btrfs "$WORK/record" || fail "removal of what is gone counts as removed"

# A mounted subvolume: its snapshot lies in it and is found again through a mount of the whole.
mkdir "$WORK/sub"
cleanup_fn umount "$WORK/sub"
mount -o subvol=n1 "$DEVICE" "$WORK/sub"
"$drive" --keep btrfs "$WORK/sub" "$WORK/storage" >"$WORK/record" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(cat "$(record .view.path)/file")" = after ] || fail "the subvolume's snapshot"
umount "$WORK/sub"
"$drive" --remove btrfs "$WORK/record" 2>"$WORK/messages" || fail "removal through the whole: $(cat "$WORK/messages")"
[ ! -e "$WORK/elsewhere/n1/.umbra" ] || fail "left behind in the subvolume"

umount "$WORK/elsewhere"
# A mount namespace that somebody made meanwhile holds a copy of the mount for as long as it lives.
checked() { btrfs check "$DEVICE" >/dev/null 2>"$WORK/messages"; }
wait_for 60 checked || fail "btrfs check: $(cat "$WORK/messages")"
