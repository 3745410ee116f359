#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches a volume where the kernel does not hand a dead server's requests to the next one (before Linux 6.9; played by a library that
# the programs are run with): attach warns, doctor says it. A server that is killed while idle, or upgraded under load, is replaced without
# an error. One that is killed under load takes the volume with it: its I/O fails and does not wait, what was acknowledged is on the device, and
# it can be unmounted and attached again.
# Not under ASan, whose runtime must be the first library: here one before it plays the kernel.
# timeout: 300
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3 fsfreeze

mkdir "$WORK/bin"
cp "$UMBRA" "$WORK/bin/umbra"
printf '#!/bin/sh\nLD_PRELOAD=%s exec %s "$@"\n' "$BUILD/tests/libold-fuse.so" "$BUILD/umbra-cow" >"$WORK/bin/umbra-cow"
chmod +x "$WORK/bin/umbra-cow"
real=$UMBRA
UMBRA=$WORK/bin/umbra
new_server() { [ "$(attached_status "$ATTACHED" servers 2>/dev/null || echo 0)" -gt "$before" ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }

attached_volume v ext4 300M --front fuse 2>"$WORK/warned"
grep -q "this kernel (before Linux 6.9) does not hand the I/O of a server that dies to the next one: .* the volume's I/O fails" "$WORK/warned" ||
  fail "attach does not warn: $(cat "$WORK/warned")"
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor"
grep -q "IF ITS SERVER DIES WITH I/O UNDER WAY THE VOLUME FAILS" "$WORK/doctor" || fail "doctor: $(cat "$WORK/doctor")"
[ "$(attached_status "$ATTACHED" replaceable)" = False ] || fail "status"

# ---- idle (frozen: no journal, no inode tables that are initialized late): nothing is lost
cleanup_fn fsfreeze --unfreeze "$WORK/v"
for round in 1 2 3; do
  fsfreeze --freeze "$WORK/v"
  before=$(attached_status "$ATTACHED" servers)
  kill -9 "$(attached_status "$ATTACHED" pid)"
  wait_for 60 new_server || fail "round $round: an idle server is not replaced"
  fsfreeze --unfreeze "$WORK/v"
  dd if=/dev/urandom of="$WORK/v/idle$round" bs=1M count=4 conv=fsync status=none || fail "round $round: the volume failed with an idle server"
done

# ---- under load
upgrade() { python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(60); s.connect(sys.argv[1]); s.send(b"upgrade"); assert s.recv(8) == b"ok"' \
  "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/supervise"; }
cat >"$WORK/load.py" <<'END'
import mmap, os, sys
# Writes block after block, and says how many were acknowledged, until one fails.
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
block, count = mmap.mmap(-1, 65536), 0
while count < 10**6:
    block[:] = count.to_bytes(8, "little") * 8192
    try:
        os.pwrite(fd, block, 65536 * (count % 1024))
    except OSError as error:
        print(count, error.errno)
        sys.exit(0)
    count += 1
END
dd if=/dev/zero of="$WORK/v/data" bs=1M count=64 conv=fsync status=none
python3 "$WORK/load.py" "$WORK/v/data" >"$WORK/load" &
load=$!
for round in 1 2 3; do
  before=$(attached_status "$ATTACHED" servers)
  upgrade || fail "no upgrade"
  wait_for 60 new_server || fail "an upgrade under load makes no new server"
  ! gone "$load" || fail "an upgrade under load lost I/O"
done
for round in {1..200}; do
  before=$(attached_status "$ATTACHED" servers 2>/dev/null) || break
  kill -9 "$(attached_status "$ATTACHED" pid 2>/dev/null)" 2>/dev/null || break
  wait_for 20 eval 'new_server || gone $load' || fail "neither a new server nor an end"
  ! gone "$load" || break
done
wait_for 60 gone "$load" || fail "I/O waits for ever after its server died"
wait "$load" || fail "the load itself failed"
read -r acknowledged error <"$WORK/load"
[ "$error" = 5 ] || fail "the load ended with $error after $acknowledged"
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor" 2>&1 || true
grep -q "both its programs are gone" "$WORK/doctor" || fail "not said: $(cat "$WORK/doctor")"
unmount_alone "$WORK/v"
e2fsck -fy "$ORIGIN" >"$WORK/fsck" 2>&1 || [ $? = 1 ] || fail "$(cat "$WORK/fsck")"
"$real" attach "$ORIGIN" "$ATTACHED" >/dev/null 2>"$WORK/warned"
! grep -q "before Linux 6.9" "$WORK/warned" || [ "$(uname -r | awk -F. '$1 < 6 || $1 == 6 && $2 < 9')" ] || fail "warned without a reason: $(cat "$WORK/warned")"
mount "/dev/umbra/$ATTACHED" "$WORK/v"
python3 - "$WORK/v/data" "$acknowledged" <<'END' || fail "an acknowledged write is not there"
import sys
data, n = open(sys.argv[1], "rb").read(), int(sys.argv[2])
for i in range(max(0, n - 1000), n):
    assert data[65536 * (i % 1024):][:65536] == i.to_bytes(8, "little") * 8192, i
END
UMBRA=$real
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
no_attached_left
