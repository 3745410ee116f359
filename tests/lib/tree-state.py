#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tree-state.py [--no-layout] DIRECTORY: one line for each file at and below it with everything that a backup brings back: name,
mode, owner, size, modification time, device, link target, attributes (ACLs and capabilities among them), which names are
the same file, where data and holes lie, checksum of the data. Two trees are alike if diff says so."""
import hashlib
import os
import stat
import sys

layout = sys.argv[1] != "--no-layout"
root = sys.argv[-1].encode()
groups = {}


def digest_add(digest, at, piece):
    if layout:
        digest.update(piece)
        return
    # Where blocks have other sizes, zeros are data or holes: pages of zeros count as holes.
    for page in range(0, len(piece), 4096):
        part = piece[page:page + 4096].rstrip(b"\0")
        if part:
            digest.update(b"%d:" % (at + page) + part)


def data_of(path, size):
    digest, extents, offset = hashlib.sha256(), [], 0
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while offset < size:
            try:
                start = os.lseek(fd, offset, os.SEEK_DATA)
            except OSError:
                break
            offset = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            extents.append((start, offset))
            at = start if layout else start // 4096 * 4096
            while at < offset:
                piece = os.pread(fd, min(offset - at, 1 << 20), at)
                if not piece:
                    raise OSError(f"{path!r}: short read")
                digest_add(digest, at, piece)
                at += len(piece)
    finally:
        os.close(fd)
    return (extents if layout else []), digest.hexdigest()[:32]


def line(path, name):
    s = os.lstat(path)
    fields = [repr(name), oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, s.st_rdev]
    if not stat.S_ISDIR(s.st_mode):
        fields += [s.st_size, s.st_nlink, groups.setdefault((s.st_dev, s.st_ino), repr(name))]
    if stat.S_ISLNK(s.st_mode):
        fields.append(repr(os.readlink(path)))
    for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
        fields.append(f"{attribute!r}={os.getxattr(path, attribute, follow_symlinks=False).hex()}")
    if stat.S_ISREG(s.st_mode):
        fields.append(data_of(path, s.st_size))
    return " ".join(map(str, fields))


def walk(path, name):
    print(line(path, name))
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for entry in sorted(os.listdir(path)):
            walk(os.path.join(path, entry), name + b"/" + entry)


walk(root, b".")
