#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes scopes below ext4 directories whose names on disk are not what users type: encrypted, and without regard to case.
# A name that is not found as it is stands for the whole directory; with the key, the mounted scope is as the source.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"
requires_program xfs_io debugfs

# Encrypted.
[ -e /sys/fs/ext4/features/encryption ] || skip "this kernel's ext4 has no encryption"
scope_make ext4 200M "300 600 900 100" -b 4096 -O encrypt
head -c 64 /dev/urandom >"$WORK/key"
# unlock DIRECTORY: adds the key to its filesystem and sets KEY to the key's name
unlock() {
  KEY=$(xfs_io -c add_enckey "$1" <"$WORK/key" | grep -oE '[0-9a-f]{32}') || fail "the key was not taken"
}
unlock "$WORK/source"
mkdir "$WORK/source/vault"
xfs_io -c "set_encpolicy -v 2 $KEY" "$WORK/source/vault" || fail "the directory was not encrypted"
cp -a "$WORK/source/in/." "$WORK/source/vault/" 2>/dev/null || true # sockets are not copied
for path in vault vault/dir-100/entry-7; do
  scope_extract ext4 12 "$path"
  scope_mount "$PART" ext4 "$WORK/part"
  unlock "$WORK/part"
  "$TOP/tests/lib/tree-lines.py" "$WORK/source/$path" >"$WORK/source-lines"
  "$TOP/tests/lib/tree-lines.py" "$WORK/part/$path" >"$WORK/part-lines"
  diff "$WORK/source-lines" "$WORK/part-lines" >&2 || fail "'$path' differs"
  umount "$WORK/part"
  [ "$BYTES" -le $(($(du -s --block-size=1 "$WORK/source/vault" | cut -f1) * 11 / 10 + (8 << 20))) ] || fail "'$path' took $BYTES bytes"
done
[ "$(wc -l <"$WORK/source-lines")" = 1 ] || fail "one file was meant"
scope_drop

# Without regard to case. Few kernels can mount it: made by tools, and judged by what is taken.
mkdir -p "$WORK/tree/folded" "$WORK/tree/plain"
for i in 1 2 3 4; do head -c 1M /dev/urandom >"$WORK/tree/folded/File-$i"; done
cp -r "$WORK/tree/folded/." "$WORK/tree/plain"
truncate -s 60M "$WORK/folded.img"
mkfs.ext4 -q -F -O casefold -b 4096 -d "$WORK/tree" "$WORK/folded.img"
debugfs -w -R "set_inode_field /folded flags 0x40080000" "$WORK/folded.img" 2>"$WORK/debugfs"
debugfs -R "stat /folded" "$WORK/folded.img" 2>>"$WORK/debugfs" | grep -q 'Flags: 0x40080000' || { cat "$WORK/debugfs"; fail "debugfs"; }
taken() { "$SCOPE_IMAGE" "$WORK/folded.img" "$WORK/part.img" ext4 12 "$1" || fail "no scope of $1"; }
exact=$(taken folded/File-1)
other=$(taken folded/FILE-1)
plain=$(taken plain/FILE-1)
[ "$exact" -ge $((1 << 20)) ] && [ "$exact" -lt $((2 << 20)) ] || fail "a file of 1 MiB took $exact"
[ "$other" -ge $((4 << 20)) ] || fail "by another spelling it took $other"
[ "$plain" -lt $((1 << 20)) ] || fail "a file that does not exist took $plain"
