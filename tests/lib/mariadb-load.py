#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mariadb-load.py make SOCKET | transfer SOCKET WORKER LOG | check SOCKET ACKNOWLEDGED...

make: accounts, in a table with transactions, whose balances have the sum ACCOUNTS * BALANCE.
transfer: until it is killed, moves money between two accounts and notes in the ledger which transfer it was, in a transaction each; appends the
transfer's number and how long it took in ms to LOG when it is committed.
check: the sum is as it was, and of each worker (LOG.WORKER) the last transfer is the last that ACKNOWLEDGED has, or the one after it.
"""
import ctypes
import os
import random
import signal
import subprocess
import sys
import time

ACCOUNTS, BALANCE = 100, 1000


class Client:
    """The command-line client, a statement list at a time; it ends with us."""

    def __init__(self, path):
        self.process = subprocess.Popen(["mariadb", "--no-defaults", "-N", "--unbuffered", "-u", "root", "-S", path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))

    def __call__(self, statements):
        self.process.stdin.write(f"{statements}; SELECT 'end';\n".encode())
        self.process.stdin.flush()
        lines = []
        while (line := self.process.stdout.readline()) != b"end\n":
            if not line:
                sys.exit("the client has ended")
            lines.append(line.decode().strip().split("\t"))
        return lines


def make(client):
    client("CREATE DATABASE bank; USE bank; CREATE TABLE account (id INT PRIMARY KEY, balance INT, filler VARBINARY(500)) ENGINE=InnoDB;"
           "CREATE TABLE ledger (worker INT, number INT, filler VARBINARY(300), PRIMARY KEY (worker, number)) ENGINE=InnoDB;"
           "CREATE TABLE noted (worker INT, number INT) ENGINE=Aria; CREATE TABLE slow (number INT) ENGINE=MyISAM; INSERT INTO account VALUES "
           + ",".join(f"({i}, {BALANCE}, REPEAT('x', 500))" for i in range(ACCOUNTS)))


def transfer(client, worker, log):
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    client("USE bank")
    number = 0
    while True:
        number += 1
        begin = time.monotonic()
        a, b = sorted(random.sample(range(ACCOUNTS), 2))
        amount = random.randrange(-10, 10)
        client(f"START TRANSACTION; UPDATE account SET balance = balance - {amount} WHERE id = {a};"
               f"UPDATE account SET balance = balance + {amount} WHERE id = {b};"
               f"INSERT INTO ledger VALUES ({worker}, {number}, REPEAT('y', 300)); COMMIT")
        os.write(acknowledged, b"%d %.3f\n" % (number, (time.monotonic() - begin) * 1000))
        if number % 10 == 0:
            client(f"INSERT INTO noted VALUES ({worker}, {number})")


def check(client, logs):
    wrong = [row for row in client("USE bank; CHECK TABLE account, ledger, noted") if row[2] == "error" or row[2] == "status" and row[3] != "OK"]
    if wrong:
        sys.exit(f"{wrong}")
    total = int(client("SELECT SUM(balance) FROM account")[0][0])
    if total != ACCOUNTS * BALANCE:
        sys.exit(f"the sum is {total}")
    for log in logs:
        worker = log.rsplit(".", 1)[1]
        with open(log, "rb") as f:
            told = f.read().count(b"\n")
        count, last = map(int, client(f"SELECT COUNT(*), COALESCE(MAX(number), 0) FROM ledger WHERE worker = {worker}")[0])
        if count != last or not told <= last <= told + 1:
            sys.exit(f"{count} transfers of {worker} up to {last}, {told} were acknowledged")


if __name__ == "__main__":
    verb, path, *rest = sys.argv[1:]
    if verb == "check":
        check(Client(path), rest)
    else:
        {"make": make, "transfer": transfer}[verb](Client(path), *rest)
