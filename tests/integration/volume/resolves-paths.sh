#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test resolves paths to volumes on real mounts: bind mounts are one volume, a nested mount is another one, and a directory
# that only looks like a mount point belongs to what it really lies on.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.xfs

show() { "$BUILD/tests/volume-show" "$@" >"$WORK/shown" 2>"$WORK/messages"; }
# get FILTER: of the first path shown
get() { jq -r ".[0] | $1" "$WORK/shown"; }
# expect FILTER VALUE
expect() { [ "$(get "$1")" = "$2" ] || fail "$1 is '$(get "$1")' and not '$2' in $(cat "$WORK/shown")"; }

make_volume outer ext4 32M
outer_device=$DEVICE
mkdir -p "$WORK/outer/data/deep" "$WORK/outer/inner" "$WORK/bind"
cleanup_fn umount "$WORK/bind"
mount --bind "$WORK/outer/data" "$WORK/bind"

# A bind mount is its volume, and its paths are found where the volume shows them.
show "$WORK/bind/deep"
expect .mount_point "$WORK/outer"
expect .canonical "$WORK/outer/data/deep"
expect .path_in_filesystem /data/deep
expect .open true
expect .block_path "$outer_device"
expect .block_bytes $((32 * 1024 * 1024))
key=$(get .key)
show "$WORK/outer"
expect .key "$key"
expect .path_in_filesystem /

# Symlinks are followed to where they lead; one that leads nowhere is an error with its name.
ln -s "$WORK/bind/deep" "$WORK/link"
show "$WORK/link"
expect .canonical "$WORK/outer/data/deep"
ln -s nowhere "$WORK/broken"
show "$WORK/broken" && fail "a broken symlink was resolved"
grep -q "looking up '$WORK/broken'" "$WORK/messages" || fail "$(cat "$WORK/messages")"

# A nested mount is a volume of its own; unmounted, its empty directory is its parent's, and the kernel's word for it.
truncate -s 16M "$WORK/inner.img"
mkfs.ext4 -q -F "$WORK/inner.img"
inner_device=$(losetup --find --show "$WORK/inner.img")
cleanup_fn losetup -d "$inner_device"
mount "$inner_device" "$WORK/outer/inner"
show "$WORK/outer/inner"
expect .mount_point "$WORK/outer/inner"
expect .source "$inner_device"
[ "$(get .key)" != "$key" ] || fail "the nested mount has its parent's key"
umount "$WORK/outer/inner"
show "$WORK/outer/inner"
expect .key "$key"
expect .mount_point "$WORK/outer"

# Something mounted over the volume: it is what the path shows, and the volume below is seen elsewhere (bind shows less).
mount "$inner_device" "$WORK/outer"
show "$WORK/outer"
expect .source "$inner_device"
show "$WORK/bind"
expect .source "$outer_device"
expect .mount_point "$WORK/bind"
expect .fs_root /data
expect .path_in_filesystem /data
umount "$WORK/outer"

# A name that is a trap: newline, spaces, backslash, no UTF-8.
trap_name=$'odd \n\\040 \xff'
mkdir "$WORK/$trap_name"
cleanup_fn umount "$WORK/$trap_name"
mount "$inner_device" "$WORK/$trap_name"
show "$WORK/$trap_name"
expect .source "$inner_device"
expect .open true
umount "$WORK/$trap_name"

# A single file mounted over another is its filesystem's, which is then looked at elsewhere.
touch "$WORK/file" "$WORK/outer/data/one"
cleanup_fn umount "$WORK/file"
mount --bind "$WORK/outer/data/one" "$WORK/file"
show "$WORK/file"
expect .mount_point "$WORK/outer"
expect .canonical "$WORK/outer/data/one"

# A read-only volume is known as one; it can be frozen all the same.
mount -o remount,ro "$WORK/outer"
show "$WORK/outer"
expect .read_only true
expect .can_freeze true
