#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test clones a directory again and again while a program moves files and directories in and out of it, writes, truncates, links and
# removes: each clone has exactly what the directory had under the hold, or is refused because a block was lost.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"
requires_program setfattr

cat >"$WORK/writer.py" <<'END'
import os, random, sys, time
root, rng = sys.argv[1], random.Random(int(sys.argv[2]))
def pick(directory):
    names = os.listdir(f"{root}/{directory}")
    return f"{root}/{directory}/{rng.choice(names)}" if names else None
def write(path, size):
    if os.path.isdir(path):
        path += "/inner"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(fd, rng.randbytes(size), rng.choice((0, 0, 5000, 1 << 20)))
    if rng.random() < 0.3:
        os.fsync(fd)
    os.close(fd)
number = 0
while True:
    number += 1
    action, here, there = rng.random(), *rng.sample(["moving", "elsewhere"], 2)
    path = pick(here)
    try:
        if action < 0.3 or not path:
            write(f"{root}/{here}/{number}", rng.randrange(30000))
        elif action < 0.4:
            os.makedirs(f"{root}/{here}/{number}/sub")
            write(f"{root}/{here}/{number}/sub/file", rng.randrange(9000))
        elif action < 0.65:
            os.rename(path, f"{root}/{there}/{os.path.basename(path)}")
        elif action < 0.75:
            write(path, rng.randrange(9000))
        elif action < 0.8 and os.path.isfile(path):
            os.link(path, f"{root}/{there}/link-{number}")
        elif action < 0.85 and os.path.isfile(path):
            os.setxattr(path, "user.a", rng.randbytes(rng.randrange(900)))
        elif action < 0.9 and os.path.isfile(path):
            os.truncate(path, rng.randrange(20000))
        elif os.path.isfile(path) and len(os.listdir(f"{root}/{here}")) > 100:
            os.unlink(path)
    except (FileNotFoundError, FileExistsError, OSError) as e:
        if not isinstance(e, (FileNotFoundError, FileExistsError)) and e.errno not in (28, 39):
            raise
    if number % 50 == 0:
        # Not as fast as it can: what is written must have a chance to be copied.
        time.sleep(0.01)
        with open(sys.argv[3], "w") as f:
            f.write(str(number))
END
reached() { [ -s "$WORK/number" ] && [ "$(cat "$WORK/number")" -ge "$1" ]; }

for type in ext4 xfs; do
  case $type in
    ext4) scope_make ext4 400M "300 600 900 100" -b 1024 ;;
    xfs) scope_make xfs 400M "300 60000 900 100" ;;
  esac
  mount -o remount,discard "$WORK/source"
  mkdir "$WORK/source/moving" "$WORK/source/elsewhere"
  rm -f "$WORK/number"
  background python3 "$WORK/writer.py" "$WORK/source" 7 "$WORK/number"
  writer=$PID good=0 refused=0
  wait_for 60 reached 300 || fail "the writer is stuck"
  for _ in 1 2 3; do
    if scope_drive "$type" moving in/dir-100; then
      good=$((good + 1))
    elif grep -q 'has to be held again' "$WORK/drive.err"; then
      refused=$((refused + 1))
    else
      cat "$WORK/drive.err" >&2
      fail "$type: no clone"
    fi
    kill -0 "$writer" || fail "$type: the writer has ended"
  done
  kill_and_wait "$writer" || true
  echo "$type: $good clones as under the hold, $refused refused, $(wc -l <"$WORK/held-1") files in the last"
  [ "$good" -ge 1 ] || { cat "$WORK/drive.err" >&2; fail "$type: $refused clones refused, none made"; }
  scope_drop
done
