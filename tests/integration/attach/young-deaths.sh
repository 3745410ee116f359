#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills each server of an attached volume as soon as it is there: the first ones are replaced at once; after STARTS_AT_ONCE_MAX (8)
# young deaths in a row there is a second before each start. What is written meanwhile waits, and none of it fails or is lost.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program python3

attached_volume v ext4 200M
python3 - "$WORK/v/data" <<'END' &
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
i = 0
while not os.path.exists(sys.argv[1] + ".end"):
    os.pwrite(fd, bytes([i % 251]) * 65536, i % 64 * 65536)
    os.fsync(fd)
    i += 1
for j in range(max(0, i - 64), i):
    assert os.pread(fd, 65536, j % 64 * 65536) == bytes([j % 251]) * 65536, j
END
load=$!

# Seconds from each death to the next server, a line each; ends after two pauses in a row.
python3 - "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/control" >"$WORK/gaps" <<'END' || fail "no server any more: $(cat "$WORK/gaps")"
import json, os, signal, socket, sys, time
def server():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(60)
    s.connect(sys.argv[1])
    try:
        s.send(b'{"do": "status"}')
        answer = json.loads(s.recv(65536))
        return answer["pid"]
    except (OSError, ValueError):
        return 0
pid, gaps = server(), []
while len(gaps) < 60 and (len(gaps) < 10 or min(gaps[-2:]) < 1):
    os.kill(pid, signal.SIGKILL)
    killed, last = time.monotonic(), pid
    while pid in (0, last):
        assert time.monotonic() < killed + 120
        pid = server()
    gaps.append(time.monotonic() - killed)
    print(f"{gaps[-1]:.2f}", flush=True)
END
mapfile -t gaps <"$WORK/gaps"
[ "${#gaps[@]}" -lt 60 ] || fail "servers that die young are always started at once: ${gaps[*]}"
# Young deaths 1 to 8: no pause. (On a busy machine a start may take as long by itself, but not each.)
printf '%s\n' "${gaps[@]:0:8}" | awk '$1 < 1 { n++ } END { exit n == 0 }' || fail "the first ones are not started at once: ${gaps[*]}"
touch "$WORK/v/data.end"
wait "$load" || fail "what was written is lost or failed"
"$UMBRA" create --quiet --no-writers --provider cow "$WORK/v" >/dev/null || fail "no shadow copy after all that"
"$UMBRA" --quiet delete --all
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
no_attached_left
