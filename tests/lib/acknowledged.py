#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""acknowledged.py write DIRECTORY LOG | check DIRECTORY LOG

write: until it is killed, writes files that take the place of earlier ones of the same name (a new file, fsync, rename, fsync of
the directory), and appends the number of each to LOG once all of that is done.
check: every file is whole, and no older than the last one of its name that LOG has; prints how many there are.

What number N is called and holds follows from N: name N % FILES, content from a generator with seed N.
"""
import os
import random
import sys

FILES = 40
BYTES_MAX = 96 * 1024


def content(number):
    generator = random.Random(number)
    return b"%020d\n" % number + generator.randbytes(generator.randrange(BYTES_MAX))


def write(directory, log):
    number = last_numbers(log)[1] + 1
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while True:
        name = os.path.join(directory, str(number % FILES))
        fd = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(content(number))
            f.flush()
            os.fsync(f.fileno())
        os.rename(name + ".new", name)
        os.fsync(place)
        os.write(acknowledged, b"%020d\n" % number)
        number += 1


def last_numbers(log):
    """Per name the last number, and the last of all."""
    last, greatest = {}, 0
    if os.path.exists(log):
        with open(log, "rb") as f:
            for line in f.read().split(b"\n")[:-1]:
                greatest = int(line)
                last[greatest % FILES] = greatest
    return last, greatest


def check(directory, log):
    last, greatest = last_numbers(log)
    for name, number in last.items():
        with open(os.path.join(directory, str(name)), "rb") as f:
            data = f.read()
        found = int(data[:20] or b"-1")
        # The one after the last acknowledged may have been under way, or done and not yet told.
        if not number <= found <= greatest + 1 or found % FILES != name:
            sys.exit(f"file {name}: number {found} instead of {number} or a later one")
        if data != content(found):
            sys.exit(f"file {name}: not what number {found} is")
    print(len(last))


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2], sys.argv[3])
