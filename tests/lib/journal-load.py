#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""journal-load.py log SOCKET WORKER LOG [COUNT] | check DIRECTORY ACKNOWLEDGED...

log: sends numbered messages to journald, until it is killed or COUNT of them; appends the number to LOG when one is sent.
check: journalctl reads the journal in DIRECTORY; of each worker (LOG.WORKER) it has all messages up to the last that ACKNOWLEDGED has, and
no gap.
"""
import json
import os
import socket
import subprocess
import sys
import time


def log(path, worker, name, count=None):
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.connect(path)
    acknowledged = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    while count is None or number < int(count):
        number += 1
        to.send(f"MESSAGE=of {worker}\nUMBRA_WORKER={worker}\nUMBRA_NUMBER={number}\n".encode())
        os.write(acknowledged, b"%d\n" % number)
        time.sleep(0.001)


def check(directory, logs):
    text = subprocess.run(["journalctl", "-q", "-D", directory, "-o", "json", "--output-fields=UMBRA_WORKER,UMBRA_NUMBER"], check=True,
                          capture_output=True, text=True).stdout
    found = {}
    for line in text.splitlines():
        entry = json.loads(line)
        if "UMBRA_WORKER" in entry:
            found.setdefault(entry["UMBRA_WORKER"], set()).add(int(entry["UMBRA_NUMBER"]))
    for name in logs:
        worker = name.rsplit(".", 1)[1]
        with open(name, "rb") as f:
            told = f.read().count(b"\n")
        last = max(found.get(worker, {0}))
        if last < told or found.get(worker, set()) != set(range(1, last + 1)):
            sys.exit(f"the journal has {len(found.get(worker, ()))} messages of {worker}, up to {last}; {told} were sent before freeze")


if __name__ == "__main__":
    if sys.argv[1] == "log":
        log(*sys.argv[2:])
    else:
        check(sys.argv[2], sys.argv[3:])
