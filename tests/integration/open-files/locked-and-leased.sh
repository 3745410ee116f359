#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up files while other processes hold a write lease, an flock, a POSIX lock and an OFD lock on them, and use a loop device over one of
# them exclusively. The backup waits for nobody, has their contents, and with clone the lease is not even asked for.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 96M
mkdir "$WORK/v/d"
for f in leased flocked locked ofd; do echo "contents of $f" >"$WORK/v/d/$f"; done
truncate -s 8M "$WORK/v/d/image" && mkfs.ext4 -q -F "$WORK/v/d/image"

# Holds all four until killed. A lease that is to be broken is noted, and kept: whoever waits for it waits 45 s.
cat >"$WORK/hold.py" <<'END'
import fcntl, os, signal, struct, sys
directory, ready, broken = sys.argv[1:]
signal.signal(signal.SIGIO, lambda *_: open(broken, "w").close())
leased = os.open(directory + "/leased", os.O_RDWR)
fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
flocked = os.open(directory + "/flocked", os.O_RDWR)
fcntl.flock(flocked, fcntl.LOCK_EX)
locked = os.open(directory + "/locked", os.O_RDWR)
fcntl.lockf(locked, fcntl.LOCK_EX)
ofd = os.open(directory + "/ofd", os.O_RDWR)
fcntl.fcntl(ofd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
open(ready, "w").close()
while True:
    signal.pause()
END
background python3 "$WORK/hold.py" "$WORK/v/d" "$WORK/ready" "$WORK/broken"
holder=$PID
wait_for 10 test -e "$WORK/ready" || fail "the locks could not be had"
# Others do have to wait, or this test proves nothing.
flock -n "$WORK/v/d/flocked" true && fail "the flock is not held"

loop=$(losetup -f --show "$WORK/v/d/image")
cleanup_fn losetup -d "$loop"
background python3 -c 'import os, sys, signal
os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)
open(sys.argv[2], "w").close()
signal.pause()' "$loop" "$WORK/exclusive"
wait_for 10 test -e "$WORK/exclusive" || fail "the loop device could not be had"

for provider in clone files; do
  rm -f "$WORK/broken"
  began=$SECONDS
  expect_status 0 timeout 40 "$UMBRA" --quiet backup --no-writers --provider "$provider" "$WORK/v/d" --to "$WORK/backup-$provider"
  [ $((SECONDS - began)) -lt 30 ] || fail "$provider: the backup took $((SECONDS - began)) s: it waited for the lease"
  if [ "$provider" = clone ]; then
    [ ! -e "$WORK/broken" ] || fail "clone asked for the lease to be broken"
  fi
  kill -0 "$holder" || fail "the holder is gone"
  expect_status 0 "$UMBRA" --quiet restore --no-writers "$WORK/backup-$provider" --to "$WORK/out-$provider"
  for f in leased flocked locked ofd; do
    [ "$(cat "$WORK/out-$provider$WORK/v/d/$f")" = "contents of $f" ] || fail "$provider: $f is not what it was"
  done
  cmp "$WORK/v/d/image" "$WORK/out-$provider$WORK/v/d/image" || fail "$provider: the image in use is not what it was"
done
# And former programs.
rm -f "$WORK/broken"
expect_status 0 timeout 40 "$UMBRA" --quiet run --no-writers --of "$WORK/v" --provider clone -- tar -C "$WORK/v" -cf "$WORK/tar" d
[ ! -e "$WORK/broken" ] || fail "tar over a clone asked for the lease"
tar -xOf "$WORK/tar" d/leased | grep -qx 'contents of leased' || fail "tar has something else"
