#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""scope-tree.py ROOT [ENTRIES [ATTRIBUTE_BYTES [SYMLINK_BYTES [EXTENTS]]]]: makes ROOT/in, what a scope takes in, with everything that
a filesystem stores in its own way, and ROOT/out, what it must not. Deterministic."""
import os
import random
import socket
import subprocess
import sys

root = os.fsencode(sys.argv[1])
entries, attribute_bytes, symlink_bytes, extents = (
    int(v) for v in (sys.argv[2:] + ["3000", "200", "900", "500"][len(sys.argv) - 2:])
)
rng = random.Random(20261125)


def path(*parts):
    return os.path.join(root, *(p if isinstance(p, bytes) else p.encode() for p in parts))


def write(name, data, mode=0o644):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(fd, data)
    os.close(fd)
    return name


def holes():
    """Sparse, and with space that is reserved but not written."""
    fd = os.open(path("in/sparse"), os.O_WRONLY | os.O_CREAT)
    for offset in (0, 3 << 20, (1 << 30) + 12345, (3 << 30) - 7):
        os.pwrite(fd, rng.randbytes(5000), offset)
    os.close(fd)
    fd = os.open(path("in/reserved"), os.O_WRONLY | os.O_CREAT)
    try:
        os.posix_fallocate(fd, 0, 24 << 20)
    except OSError:
        pass  # ext2, ext3: glibc would write zeros; the file is small then
    os.pwrite(fd, rng.randbytes(70000), 1 << 20)
    os.close(fd)
    # Neither written in order nor next to each other: as many extents as pieces.
    fd = os.open(path("in/pieces"), os.O_WRONLY | os.O_CREAT)
    for i in rng.sample(range(extents), extents):
        os.pwrite(fd, rng.randbytes(100), i * 128 * 1024)
    os.close(fd)


def links():
    os.symlink(b"short", path("in/short-link"))
    os.symlink(rng.randbytes(symlink_bytes // 2).hex().encode(), path("in/long-link"))
    os.symlink(b"x" * 59, path("in/link-59"))
    os.symlink(b"x" * 60, path("in/link-60"))
    os.link(path("in/dir-100/entry-7"), path("in/linked-inside"))
    os.link(path("in/dir-100/entry-8"), path("out/linked-from-outside"))
    write(path("out/linked-to-outside-1"), rng.randbytes(9000))
    os.link(path("out/linked-to-outside-1"), path("in/linked-to-outside"))


def attributes():
    name = write(path("in/attributes"), b"x")
    for i in range(3):
        os.setxattr(name, f"user.small-{i}", b"v" * i)
    if attribute_bytes:
        os.setxattr(name, "user.large", rng.randbytes(attribute_bytes))
        os.setxattr(path("in/dir-100"), "user.large", rng.randbytes(attribute_bytes))
    os.setxattr(path("in/dir-1"), "user.of-a-directory", b"small")
    os.setxattr(name, "trusted.mine", b"root only")
    subprocess.run(["setfacl", "-m", "u:1234:rw,g:4321:r", name], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx", path("in/dir-1")], check=True)


def directories():
    for count in (0, 1, 100, entries):
        directory = path(f"in/dir-{count}")
        os.mkdir(directory)
        for i in range(count):
            # Some files have content, some more than fits an inode.
            write(os.path.join(directory, b"entry-%d" % i), rng.randbytes(i % 7 * 37 if i % 50 else 6000))
    # More than fits i_block, less than fits an inode of 512 bytes.
    os.mkdir(path("in/dir-few"))
    for i in range(6):
        write(path("in/dir-few", "a-name-of-some-length-%d" % i), rng.randbytes(5000))
    # Gaps in the large one, as in any that was used.
    for i in range(5, entries, 3):
        os.unlink(path(f"in/dir-{entries}", "entry-%d" % i))
    deep = path("in/deep")
    for i in range(40):
        os.mkdir(deep)
        write(os.path.join(deep, b"here"), b"%d" % i)
        deep = os.path.join(deep, b"a-rather-long-name-of-a-directory-%d" % i)


def specials():
    os.mkfifo(path("in/fifo"))
    os.mknod(path("in/null"), 0o020666, os.makedev(1, 3))
    os.mknod(path("in/block"), 0o060600, os.makedev(7, 200))
    s = socket.socket(socket.AF_UNIX)
    os.chdir(path("in"))
    s.bind("socket")
    os.chdir("/")
    write(path("in/empty"), b"")
    write(path("in", b"new\nline"), b"1")
    write(path("in", b"bytes-\xff\xfe\x80"), b"2")
    write(path("in", b"l" * 255), b"3")
    write(path("in/large"), rng.randbytes(3 << 20))
    os.chown(path("in/empty"), 123456, 654321)


os.mkdir(path("in"))
os.mkdir(path("out"))
write(path("out/filler"), rng.randbytes(10 << 20))
for i in range(300):
    write(path(f"out/neighbour-{i}"), b"n")
directories()
holes()
links()
attributes()
specials()
