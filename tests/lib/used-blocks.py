#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""used-blocks.py ext4|xfs IMAGE: an MD5 sum of all blocks of an image that its filesystem has in use, by e2fsprogs' or xfsprogs' word.

What was free at a shadow copy's instant is not kept (E18 in cow/DESIGN.md): it reads as what it was, or as zeros once it was written over.
"""
import hashlib
import mmap
import os
import re
import subprocess
import sys


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def free_ext4(image):
    text = run("dumpe2fs", image)
    size = int(re.search(r"^Block size:\s+(\d+)", text, re.M)[1])
    first = int(re.search(r"^First block:\s+(\d+)", text, re.M)[1])
    ranges = []
    for line in re.findall(r"^  Free blocks: (.*)$", text, re.M):
        for one in filter(None, line.split(", ")):
            begin, _, end = one.strip().partition("-")
            ranges.append((int(begin) * size, (int(end or begin) + 1) * size))
    assert first in (0, 1) and ranges, text
    return ranges


def free_xfs(image):
    head = run("xfs_db", "-r", "-c", "sb 0", "-c", "p blocksize", "-c", "p agblocks", image)
    size, agblocks = (int(re.search(rf"^{name} = (\d+)", head, re.M)[1]) for name in ("blocksize", "agblocks"))
    ranges = []
    for line in run("xfs_db", "-r", "-c", "freesp -d", image).splitlines():
        fields = line.split()
        if len(fields) == 3 and all(f.isdigit() for f in fields):
            group, block, length = map(int, fields)
            begin = (group * agblocks + block) * size
            ranges.append((begin, begin + length * size))
        elif "from" in fields:
            break
    assert ranges, image
    return ranges


def main():
    kind, image = sys.argv[1:]
    free = sorted({"ext4": free_ext4, "xfs": free_xfs}[kind](image))
    digest = hashlib.md5()
    fd = os.open(image, os.O_RDONLY | os.O_DIRECT)
    size = os.fstat(fd).st_size
    buffer = mmap.mmap(-1, 1 << 20)
    at, used, free_bytes = 0, 0, 0
    i = 0
    while at < size:
        count = os.preadv(fd, [buffer], at)
        assert count > 0, at
        here, end = at, at + count
        while here < end:
            while i < len(free) and free[i][1] <= here:
                i += 1
            begin_free, end_free = free[i] if i < len(free) else (size, size)
            if here < begin_free:
                stop = min(end, begin_free)
                digest.update(buffer[here - at:stop - at])
                used += stop - here
            else:
                stop = min(end, end_free)
                free_bytes += stop - here
            here = stop
        at = end
    assert used > 0 and free_bytes > 0, (used, free_bytes)
    print(digest.hexdigest())


main()
