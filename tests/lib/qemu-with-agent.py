#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU for libvirt's <emulator>, whose guest has an agent without having a system: this process is both.

It stands between libvirt and QEMU's monitor, to say that the agent's port was opened in the guest, and answers at the agent's channel (QEMU Guest
Agent Protocol). What the guest would write, a number to each of its disks in turn ($AGENT/disks, a path a line), it writes itself, unless it is frozen.
$AGENT is a directory: "frozen" is there while it is; "asked" has what it was asked; it does as the names of these files say: "hang-freeze", "fail-freeze",
"thawed-by-itself", "hang-thaw". Without a monitor (libvirt asks what QEMU can do) this is QEMU.
"""
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

QEMU = "/usr/bin/qemu-system-x86_64"
AGENT = os.environ.get("AGENT") or os.path.dirname(os.path.realpath(__file__)) + "/agent"


def is_there(name):
    return os.path.exists(f"{AGENT}/{name}")


class Guest:
    def __init__(self):
        self.lock = threading.Lock()
        self.frozen = False

    def write(self):
        with open(f"{AGENT}/disks", encoding="utf-8") as f:
            disks = [os.open(line.strip(), os.O_WRONLY) for line in f]
        number = 0
        while True:
            number += 1
            with self.lock:
                for disk in disks:
                    os.pwrite(disk, b"%016d" % number, 0)
            time.sleep(0.001)

    def freeze(self):
        while is_there("hang-freeze"):
            time.sleep(0.02)
        if is_there("fail-freeze"):
            return {"error": {"class": "GenericError", "desc": "a hook in the guest has failed"}}
        if not self.frozen:
            self.lock.acquire()
            self.frozen = True
            open(f"{AGENT}/frozen", "w").close()
        return {"return": 2}

    def thaw(self):
        while is_there("hang-thaw"):
            time.sleep(0.02)
        was = self.frozen
        if was:
            self.frozen = False
            os.unlink(f"{AGENT}/frozen")
            self.lock.release()
        return {"return": 0 if is_there("thawed-by-itself") else 2 if was else 0}

    def answer(self, request):
        name = request.get("execute")
        with open(f"{AGENT}/asked", "a", encoding="utf-8") as f:
            f.write(f"{name}\n")
        if name in ("guest-sync", "guest-sync-delimited"):
            return {"return": request["arguments"]["id"]}
        if name == "guest-fsfreeze-freeze":
            return self.freeze()
        if name == "guest-fsfreeze-thaw":
            return self.thaw()
        return {"error": {"class": "CommandNotFound", "desc": f"no {name}"}}

    def serve(self, listener):
        while True:
            client, _ = listener.accept()
            stream = client.makefile("rb")
            for line in stream:
                try:
                    client.sendall(json.dumps(self.answer(json.loads(line.lstrip(b"\xff")))).encode() + b"\n")
                except (OSError, ValueError):
                    break


def between(libvirt, qemu):
    """Monitor's lines, both ways; after the guest was told to run, its agent is there."""
    began = threading.Event()

    def down():
        for line in libvirt.makefile("rb"):
            if b'"cont"' in line:
                began.set()
            qemu.sendall(line)

    threading.Thread(target=down, daemon=True).start()
    told = False
    for line in qemu.makefile("rb"):
        libvirt.sendall(line)
        if began.is_set() and b'"return"' in line and not told:
            told = True
            libvirt.sendall(b'{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "VSERPORT_CHANGE", "data": {"open": true, "id": "channel0"}}\r\n')


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(arguments):
    text = "\0".join(arguments)
    monitor = re.search(r"socket,id=charmonitor,fd=(\d+),[^\0]*", text)
    if not monitor:
        os.execv(QEMU, [QEMU, *arguments])
    channel = re.search(r"socket,id=charchannel0,fd=(\d+),[^\0]*", text)
    ours, its = socket.socketpair()
    text = text.replace(monitor[0], f"socket,id=charmonitor,fd={its.fileno()}")
    guest = Guest()
    if channel:
        text = text.replace(channel[0], "null,id=charchannel0")
        threading.Thread(target=guest.serve, args=[socket.socket(fileno=int(channel[1]))], daemon=True).start()
    if is_there("disks"):
        threading.Thread(target=guest.write, daemon=True).start()
    inherited = [int(n) for n in os.listdir("/proc/self/fd") if int(n) > 2]
    qemu = subprocess.Popen([QEMU, *text.split("\0")], pass_fds=[n for n in inherited if os.path.exists(f"/proc/self/fd/{n}")],
                            preexec_fn=die_with_parent)
    its.close()
    signal.signal(signal.SIGTERM, lambda *_: qemu.terminate())
    libvirt, _ = socket.socket(fileno=int(monitor[1])).accept()
    threading.Thread(target=between, args=[libvirt, ours], daemon=True).start()
    os._exit(max(qemu.wait(), 0))


if __name__ == "__main__":
    main(sys.argv[1:])
