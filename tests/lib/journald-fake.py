#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""journald-fake.py SOCKET DIRECTORY: answers as journald does, and appends what it was asked to DIRECTORY/asked.

While DIRECTORY/answer exists, that is what it answers, as it stands; "hang" there: it does not answer; "flood": without an end.
"""
import os
import socket
import sys

path, directory = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
waiting = []
while True:
    client, _ = listener.accept()
    request = b""
    while not request.endswith(b"\0"):
        request += client.recv(4096)
    with open(f"{directory}/asked", "ab") as f:
        f.write(request[:-1] + b"\n")
    answer = b'{"parameters":{}}\0'
    if os.path.exists(f"{directory}/answer"):
        with open(f"{directory}/answer", "rb") as f:
            answer = f.read()
    if answer == b"hang":
        waiting.append(client)
        continue
    try:
        client.sendall(b'{"x":"' + b"y" * 1000000 if answer == b"flood" else answer)
    except OSError:
        pass
    client.close()
