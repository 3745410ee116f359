#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""redis-load.py make SOCKET | transfer SOCKET WORKER LOG | check SOCKET ACKNOWLEDGED...

make: accounts whose balances have the sum ACCOUNTS * BALANCE.
transfer: until it is killed, moves money between two accounts and counts the worker's transfers, in a transaction each; appends the
transfer's number and how long it took in ms to LOG when it is done.
check: the sum is as it was, and of each worker (LOG.WORKER) the last transfer is the last that ACKNOWLEDGED has, or the one after it.
"""
import os
import random
import socket
import sys
import time

ACCOUNTS, BALANCE = 100, 1000


class Server:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.input = self.socket.makefile("rb")

    def reply(self):
        line = self.input.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            sys.exit(f"the server answers {rest}")
        if kind == b"$":
            return None if rest == b"-1" else self.input.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind != b"+":
            sys.exit("the server is gone")
        return rest

    def __call__(self, *commands):
        request = b""
        for command in commands:
            words = [str(w).encode() for w in command]
            request += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        self.socket.sendall(request)
        return [self.reply() for _ in commands]


def make(server):
    server(*[("SET", f"account:{i}", BALANCE) for i in range(ACCOUNTS)])


def transfer(server, worker, log):
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    while True:
        number += 1
        begin = time.monotonic()
        a, b, amount = random.randrange(ACCOUNTS), random.randrange(ACCOUNTS), random.randrange(10)
        server(("MULTI",), ("DECRBY", f"account:{a}", amount), ("INCRBY", f"account:{b}", amount), ("INCR", f"ledger:{worker}"),
               ("SET", f"filler:{random.randrange(1000)}", "x" * 400), ("EXEC",))
        os.write(acknowledged, b"%d %.3f\n" % (number, (time.monotonic() - begin) * 1000))
        time.sleep(random.random() * 0.002)


def check(server, logs):
    total = sum(int(v or 0) for v in server(("MGET", *[f"account:{i}" for i in range(ACCOUNTS)]))[0])
    if total != ACCOUNTS * BALANCE:
        sys.exit(f"the sum is {total}")
    for log in logs:
        worker = log.rsplit(".", 1)[1]
        with open(log, "rb") as f:
            told = f.read().count(b"\n")
        last = int(server(("GET", f"ledger:{worker}"))[0] or 0)
        if not told <= last <= told + 1:
            sys.exit(f"{last} transfers of {worker}, {told} were acknowledged")


if __name__ == "__main__":
    verb, path, *rest = sys.argv[1:]
    if verb == "check":
        check(Server(path), rest)
    else:
        {"make": make, "transfer": transfer}[verb](Server(path), *rest)
