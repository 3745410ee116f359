#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up files on which another process holds a write lease, an flock and an OFD lock: the data are right as of the hold, the holder
# is never signalled, and nobody waits.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs python3

cat >"$WORK/holder" <<'END'
import fcntl, os, signal, struct, sys
path, ready, broken, mode = sys.argv[1:]
def lost(signum, frame):
    open(broken, "a").write("signalled\n")
signal.signal(signal.SIGIO, lost)
count = 0
fd = os.open(path, getattr(os, mode) | os.O_CREAT)
os.pwrite(fd, b"x" * 300000, 0)
os.pwrite(fd, b"00000000", 200000)
os.lseek(fd, 4711, os.SEEK_SET)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
locked = os.open(path + ".locked", os.O_RDWR | os.O_CREAT)
os.write(locked, b"locked")
fcntl.flock(locked, fcntl.LOCK_EX)
ofd = os.open(path + ".ofd", os.O_RDWR | os.O_CREAT)
os.write(ofd, b"ofd")
fcntl.fcntl(ofd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
def write(signum, frame):
    global count
    count += 1
    if os.lseek(fd, 0, os.SEEK_CUR) != 4711:
        open(broken, "a").write("offset moved\n")
    os.pwrite(fd, b"%08d" % count, 200000)
    open(ready + ".new", "w").write(str(count))
    os.rename(ready + ".new", ready)
signal.signal(signal.SIGUSR1, write)
write(None, None)
while True:
    signal.pause()
END
cat >"$WORK/write" <<'END'
kill -USR1 "$1"
for i in $(seq 500); do [ "$(cat "$2")" = "$3" ] && exit 0; sleep 0.02; done
exit 1
END
held() { [ "$(cat "$WORK/ready")" = "$1" ]; }

for kind in ext4:O_RDWR xfs:O_RDWR ext4:O_WRONLY xfs:O_WRONLY; do
  type=${kind%:*} mode=${kind#*:}
  [ -d "$WORK/$type" ] || make_volume "$type" $type 300M
  volume=$WORK/$type
  rm -f "$volume"/leased*
  python3 "$WORK/holder" "$volume/leased" "$WORK/ready" "$WORK/broken" "$mode" &
  holder=$!
  cleanup_fn kill_and_wait $holder
  wait_for 10 held 1 || fail "the holder did not start"
  grep -q "LEASE.*WRITE.*:$(stat -c %i "$volume/leased") " /proc/locks || fail "there is no lease"
  for store in "$STORAGE" "$volume"; do
    before=$(cat "$WORK/ready")
    STORE_IN=$store copy_of "$volume" --prepared "sh $WORK/write $holder $WORK/ready $((before + 1))" \
      --precommitted "sh $WORK/write $holder $WORK/ready $((before + 2))" \
      --then "cp \$IMAGE/leased* $WORK/" || fail "$kind: no copy"
    [ ! -e "$WORK/broken" ] || fail "$kind: the holder was disturbed: $(cat "$WORK/broken")"
    [ "$(dd if="$WORK/leased" bs=1 skip=200000 count=8 status=none)" = "$(printf %08d $((before + 2)))" ] ||
      fail "$kind: the leased file's data are not those of the hold"
    [ "$(stat -c %s "$WORK/leased")" = 300000 ] || fail "$kind: the leased file's size is wrong"
    [ "$(cat "$WORK/leased.locked" "$WORK/leased.ofd")" = lockedofd ] || fail "$kind: a locked file differs"
  done
  kill_and_wait $holder
  rm -f "$WORK/ready" "$WORK"/leased*
done
