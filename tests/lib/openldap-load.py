#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""openldap-load.py transfer SOCKET WORKER LOG | check LDIF ACKNOWLEDGED...

transfer: until it is killed, as the worker: adds an entry, moves an amount from one attribute of the worker's entry in the first database to
another in the same modification, then counts in the worker's entry of the second database, and deletes what it added KEPT entries ago. Appends the
number, and how long it took in ms, to LOG when all is done. A server's answer that is an error ends it with status 1.
check: LDIF is of slapcat, of both databases. In each worker's entry the sum is as it was; the last KEPT entries that it added have no gap; the
second database is not ahead of the first nor more than one behind; the last number is the last that ACKNOWLEDGED (LOG.WORKER) has, or the one after it.
"""
import os
import re
import socket
import sys
import time

TOTAL, KEPT = 1000000, 500


def ber(tag, content):
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def text(value, tag=4):
    return ber(tag, value.encode())


def integer(value, tag=2):
    return ber(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


class Server:
    """LDAP (RFC 4511) as far as a load needs it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.input = self.socket.makefile("rb")
        self.number = 0

    def element(self):
        tag, size = self.input.read(1), self.input.read(1)
        if not tag or not size:
            sys.exit("the server is gone")
        size = size[0]
        if size & 0x80:
            size = int.from_bytes(self.input.read(size & 0x7F), "big")
        return tag[0], self.input.read(size)

    def __call__(self, operation):
        self.number += 1
        self.socket.sendall(ber(0x30, integer(self.number) + operation))
        _, message = self.element()
        # Message number, then the response, which begins with the result code.
        response = message[2 + message[1]:]
        at = 2 + (response[1] & 0x7F if response[1] & 0x80 else 0)
        code = response[at + 2]
        if code != 0:
            sys.exit(f"the server answers {code}: {response[at + 3:]!r}")

    def bind(self, name, password):
        self(ber(0x60, integer(3) + text(name) + text(password, 0x80)))

    def add(self, name, attributes):
        listed = b"".join(ber(0x30, text(k) + ber(0x31, b"".join(text(v) for v in values))) for k, values in attributes.items())
        self(ber(0x68, text(name) + ber(0x30, listed)))

    def delete(self, name):
        self(text(name, 0x4A))

    def increment(self, name, changes):
        """In one modification (RFC 4525)."""
        listed = b"".join(ber(0x30, integer(3, 0x0A) + ber(0x30, text(k) + ber(0x31, text(str(v))))) for k, v in changes.items())
        self(ber(0x66, text(name) + ber(0x30, listed)))


def account(server, name, worker):
    server.add(name, {"objectClass": ["account", "posixAccount"], "uid": [worker], "cn": [worker], "homeDirectory": ["/"],
                      "uidNumber": [str(TOTAL)], "gidNumber": ["0"]})


def transfer(path, worker, log):
    server = Server(path)
    server.bind("cn=admin,dc=first", "secret")
    account(server, f"uid={worker},dc=first", worker)
    second = Server(path)
    second.bind("cn=admin,dc=second", "secret")
    account(second, f"uid={worker},dc=second", worker)
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    while True:
        number += 1
        begin = time.monotonic()
        server.add(f"cn={worker}-{number},dc=first", {"objectClass": ["device"], "description": ["x" * 300]})
        server.increment(f"uid={worker},dc=first", {"uidNumber": -3, "gidNumber": 3})
        second.increment(f"uid={worker},dc=second", {"gidNumber": 3})
        if number > KEPT:
            server.delete(f"cn={worker}-{number - KEPT},dc=first")
        os.write(acknowledged, b"%d %.3f\n" % (number, (time.monotonic() - begin) * 1000))


def entries(path):
    """DN → attributes (first values)."""
    with open(path, encoding="utf-8") as f:
        for block in f.read().replace("\n ", "").split("\n\n"):
            pairs = [line.split(": ", 1) for line in block.splitlines() if ": " in line]
            if pairs and pairs[0][0] == "dn":
                yield pairs[0][1], {k: v for k, v in reversed(pairs)}


def check(path, logs):
    found = dict(entries(path))
    added = {}
    for name in found:
        match = re.fullmatch(r"cn=(\d+)-(\d+),dc=first", name)
        if match:
            added.setdefault(match[1], set()).add(int(match[2]))
    for log in logs:
        worker = log.rsplit(".", 1)[1]
        with open(log, "rb") as f:
            told = f.read().count(b"\n")
        first, second = (found[f"uid={worker},dc={base}"] for base in ("first", "second"))
        if int(first["uidNumber"]) + int(first["gidNumber"]) != TOTAL:
            sys.exit(f"the sum of {worker} is not what it was: {first}")
        moved, counted = int(first["gidNumber"]) // 3, int(second["gidNumber"]) // 3
        there = added.get(worker, {0})
        last = max(there)
        if there != set(range(min(there), last + 1)) or min(there) > max(1, last - KEPT + 1):
            sys.exit(f"entries of {worker} are missing before {last}")
        if not (counted <= moved <= counted + 1 and moved <= last <= moved + 1):
            sys.exit(f"of {worker} {last} were added, {moved} moved, {counted} counted")
        if not told <= counted <= told + 1:
            sys.exit(f"{counted} of {worker}, {told} were acknowledged")


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "check":
        check(rest[0], rest[1:])
    else:
        transfer(*rest)
