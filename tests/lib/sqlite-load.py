#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""sqlite-load.py make DATABASE MODE | transfer DATABASE WORKER LOG | hold DATABASE | check DATABASE ACKNOWLEDGED...

make: accounts whose balances have the sum ACCOUNTS * BALANCE, with journal mode MODE.
transfer: until it is killed, moves money between two accounts and notes in the ledger which transfer it was, each in a transaction; appends
the transfer's number and how long it took in ms to LOG when it is committed.
hold: locks it for good (locking_mode=EXCLUSIVE) and prints a line.
check: sound, the sum as it was, and of each worker (LOG.WORKER) the last transfer that ACKNOWLEDGED has, or the one after it.
"""
import os
import random
import sqlite3
import sys
import time

ACCOUNTS, BALANCE, TIMEOUT_S = 100, 1000, 60


def connect(path):
    return sqlite3.connect(path, timeout=TIMEOUT_S, isolation_level=None)


def make(path, mode):
    database = connect(path)
    database.execute(f"PRAGMA journal_mode={mode}")
    database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB)")
    database.execute("CREATE TABLE ledger (worker TEXT, number INTEGER, filler BLOB)")
    database.executemany("INSERT INTO account VALUES (?, ?, randomblob(500))", [(i, BALANCE) for i in range(ACCOUNTS)])


def transfer(path, worker, log):
    database = connect(path)
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    while True:
        number += 1
        # Without a pause one never lets go of the lock long enough for another that sleeps in between to see it.
        time.sleep(random.random() * 0.004)
        begin = time.monotonic()
        a, b, amount = random.randrange(ACCOUNTS), random.randrange(ACCOUNTS), random.randrange(10)
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE account SET balance = balance - ?, filler = randomblob(500) WHERE id = ?", (amount, a))
        database.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, b))
        database.execute("INSERT INTO ledger VALUES (?, ?, randomblob(300))", (worker, number))
        database.execute("COMMIT")
        os.write(acknowledged, b"%d %.3f\n" % (number, (time.monotonic() - begin) * 1000))


def hold(path):
    database = connect(path)
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    database.execute("BEGIN EXCLUSIVE")
    database.execute("COMMIT")
    print("held", flush=True)
    time.sleep(3600)


def check(path, logs):
    database = connect(path)
    sound = database.execute("PRAGMA integrity_check").fetchall()
    if sound != [("ok",)]:
        sys.exit(f"{path}: {sound}")
    total = database.execute("SELECT sum(balance) FROM account").fetchone()[0]
    if total != ACCOUNTS * BALANCE:
        sys.exit(f"{path}: the sum is {total}")
    for log in logs:
        worker = log.rsplit(".", 1)[1]
        with open(log, "rb") as f:
            told = f.read().count(b"\n")
        count, last = database.execute("SELECT count(*), coalesce(max(number), 0) FROM ledger WHERE worker = ?", (worker,)).fetchone()
        if count != last or not told <= last <= told + 1:
            sys.exit(f"{path}: {count} transfers of {worker} up to {last}, {told} were acknowledged")


if __name__ == "__main__":
    verb, database_path, *rest = sys.argv[1:]
    if verb == "check":
        check(database_path, rest)
    else:
        {"make": make, "transfer": transfer, "hold": hold}[verb](database_path, *rest)
