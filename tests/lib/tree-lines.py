#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tree-lines.py DIRECTORY: one line for each file at and below it with everything that a backup could keep: name, inode, mode, links,
owner, size, allocation, times, device, link target, attributes (ACLs among them), checksum of the data. Two trees are alike if diff
says so. Holes are not read."""
import hashlib
import os
import stat
import sys


def data_checksum(path, size):
    digest, offset = hashlib.sha256(), 0
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while offset < size:
            try:
                start = os.lseek(fd, offset, os.SEEK_DATA)
            except OSError:
                break
            # What is between two pieces of data is zeros, whether the filesystem calls it a hole or not.
            offset = min(start + (1 << 20), size)
            data = os.pread(fd, offset - start, start)
            if len(data) != offset - start:
                raise OSError(f"{path!r}: short read")
            for page in range(0, len(data), 4096):
                piece = data[page:page + 4096]
                if piece.count(0) != len(piece):
                    digest.update(b"%d:" % (start + page) + piece)
    finally:
        os.close(fd)
    return digest.hexdigest()[:32]


def line(path, name):
    s = os.lstat(path)
    fields = [repr(name), s.st_ino, oct(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blocks, s.st_mtime_ns,
              s.st_ctime_ns, s.st_rdev]
    if stat.S_ISLNK(s.st_mode):
        fields.append(repr(os.readlink(path)))
    if stat.S_ISREG(s.st_mode):
        fields.append(data_checksum(path, s.st_size))
    for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, attribute, follow_symlinks=False)
        fields.append(f"{attribute}={len(value)}:{hashlib.sha256(value).hexdigest()[:16]}")
    return " ".join(map(str, fields))


def show(path, name):
    print(line(path, name))
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for entry in sorted(os.listdir(path)):
            show(os.path.join(path, entry), os.path.join(name, entry))


sys.setrecursionlimit(100000)
show(os.fsencode(sys.argv[1]), b".")
