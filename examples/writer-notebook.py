#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""writer-notebook.c in Python, without a library: umbra-writers(7) has the protocol.

The notebook's pages are only whole while its lock is held. Goes to writers.d.
"""
import fcntl
import json
import os
import select
import sys
import time

NOTEBOOK = os.environ.get("NOTEBOOK", "/srv/notebook")
GRACE_S = 1


def identify():
    if not os.path.isdir(NOTEBOOK):
        return []  # no notebook, nobody to tell
    files = [{"path": NOTEBOOK, "pattern": "*", "recursive": True}]
    excludes = [{"path": NOTEBOOK, "pattern": "lock"}]
    return [{"name": "notebook", "session": True, "components": [{"name": "pages", "files": files, "excludes": excludes}]}]


class Session:
    lock = None
    thaw_by = None

    def freeze(self, limit_ms):
        self.lock = open(f"{NOTEBOOK}/lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.thaw_by = time.monotonic() + limit_ms / 1000 + GRACE_S

    def let_go(self):
        if self.lock:
            self.lock.close()
        self.lock = self.thaw_by = None

    def handle(self, told):
        event = told["event"]
        try:
            if event == "freeze":
                self.freeze(told["limit_ms"])
            elif event in ("thaw", "abort"):
                self.let_go()
        except OSError as e:
            return {"event": event, "result": "failed", "message": str(e)}
        return {"event": event, "result": "done"}

    def run(self):
        pending = b""
        while True:
            left = None if self.thaw_by is None else max(0, self.thaw_by - time.monotonic())
            if not select.select([0], [], [], left)[0]:
                self.let_go()  # whoever would thaw us may be stopped
                continue
            got = os.read(0, 65536)
            if not got:
                return  # umbra is gone; the lock goes with us
            pending += got
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                print(json.dumps(self.handle(json.loads(line))), flush=True)


if sys.argv[1:] == ["identify"]:
    print(json.dumps(identify()))
elif sys.argv[1:] == ["session"]:
    Session().run()
