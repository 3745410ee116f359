#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""many-files.py DIRECTORY COUNT [BYTES]: makes a tree of COUNT files with BYTES of content in all (default: none): half of them in one
directory, so that no sorting in memory can do; a tenth of them have a second name. The contents are text and noise."""
import os
import random
import sys

root, count = sys.argv[1], int(sys.argv[2])
total = int(sys.argv[3]) if len(sys.argv) > 3 else 0
random.seed(1)
noise = random.randbytes(1 << 20)
words = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 9))) for _ in range(5000)]
text = b" ".join(random.choices(words, k=400000))
os.makedirs(f"{root}/flat")
for i in range(count):
    if i % 2:
        directory = f"{root}/flat"
    else:
        directory = f"{root}/tree/{i // 10000}/{i // 500}"
        if i % 500 == 0:
            os.makedirs(directory, exist_ok=True)
    path = f"{directory}/file-{i * 7919 % count:07}-{i}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    if total:
        size = int(total / count * random.uniform(0.2, 1.8))
        pool = noise if i % 4 == 0 else text
        start = random.randrange(max(1, len(pool) - size))
        os.write(fd, pool[start:start + size])
    os.close(fd)
    if i % 10 == 0:
        os.link(path, f"{directory}/link-{i}")
