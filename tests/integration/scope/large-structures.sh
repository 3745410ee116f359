#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes scopes with structures of several levels: files of 6,000 and more extents (XFS: B+tree of two levels below the
# inode; ext4: extent tree), directories of 20,000 entries (XFS: node and free blocks) and 8,000 (ext4: hash tree), and attributes in a B+tree.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"
requires_program xfs_io

# many_attributes FILE: so many that their fork becomes large, with values in blocks of their own
many_attributes() {
  python3 -c '
import os, sys
for i in range(400):
    os.setxattr(sys.argv[1], f"user.attribute-{i}", b"%d" % i * (1000 if i % 2 else 10))' "$1"
}

# tree_level FILE: depth of an XFS file'"'"'s extent tree, from the frozen image
tree_level() { xfs_db -r -f -c "inode $(stat -c %i "$WORK/source/$1")" -c 'p u3.bmbt.level' "$SOURCE" | sed 's/.*= //'; }

scope_make xfs 600M "20000 60000 900 3000" -b size=1024 -m reflink=1
many_attributes "$WORK/source/in/attributes"
# Every second KiB of 12 MiB: 6,000 extents, 60 a block of the tree.
xfs_io -f -c 'pwrite -q 0 12m' "$WORK/source/in/punched"
python3 -c '
import ctypes, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
for i in range(0, 12288, 2):
    if libc.fallocate(fd, 3, ctypes.c_int64(i * 1024), ctypes.c_int64(1024)):
        sys.exit(os.strerror(ctypes.get_errno()))' "$WORK/source/in/punched"
cp --reflink=always "$WORK/source/in/large" "$WORK/source/in/shared"
cp --reflink=always "$WORK/source/out/filler" "$WORK/source/in/shared-with-outside"
sync -f "$WORK/source"
scope_compare xfs 12 in
[ "$(tree_level in/punched)" -ge 2 ] || fail "the extent tree has only $(tree_level in/punched) levels"
scope_drop

scope_make ext4 500M "8000 600 900 3000" -b 1024
scope_compare ext4 12 in
scope_drop
