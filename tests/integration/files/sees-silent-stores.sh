#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test stores into shared mappings without msync, before and after the last round and all the time, and writes with the size and the
# modification time left as they were: no system call and no event tells of the one, no size or mtime of the other, yet all are in the copy.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs python3

# Stores a number at two places of two pages each time it gets SIGUSR1.
cat >"$WORK/mapper" <<'END'
import mmap, os, signal, sys
path, ready = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
m = mmap.mmap(fd, 16384)
count = 0
def store(signum, frame):
    global count
    count += 1
    m[4096:4100] = b"%04d" % count
    m[8192:8196] = b"%04d" % count
    open(ready + ".new", "w").write(str(count))
    os.rename(ready + ".new", ready)
signal.signal(signal.SIGUSR1, store)
store(None, None)
while True:
    signal.pause()
END
# Stores numbers all the time, into many files in turn.
cat >"$WORK/runner" <<'END'
import mmap, os, sys
directory, ready = sys.argv[1:]
maps = []
for i in range(40):
    fd = os.open(f"{directory}/{i}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 4096)
    maps.append(mmap.mmap(fd, 4096))
open(ready, "w").close()
count = 0
while True:
    count += 1
    for m in maps:
        m[100:108] = b"%08d" % count
END
stored() { [ "$(cat "$WORK/stored")" = "$1" ]; }
cat >"$WORK/store" <<'END'
kill -USR1 "$1"
for i in $(seq 500); do [ "$(cat "$2")" = "$3" ] && exit 0; sleep 0.02; done
exit 1
END
# Waits until the file's ctime is of the past for certain: then only the sync of a round can have made its pages tell of stores.
cat >"$WORK/settle" <<'END'
for i in $(seq 500); do [ $(($(date +%s) - $(stat -c %Z "$1"))) -ge 3 ] && exit 0; sleep 0.05; done
exit 1
END

for type in ext4 xfs; do
  make_volume "$type" $type 300M
  volume=$WORK/$type
  head -c 16384 /dev/zero >"$volume/mapped"
  printf old1 >"$volume/same"; touch -d 2020-02-02 "$volume/same"
  python3 "$WORK/mapper" "$volume/mapped" "$WORK/stored" &
  mapper=$!
  cleanup_fn kill_and_wait $mapper
  wait_for 10 stored 1 || fail "the mapper did not start"
  copy_of "$volume" \
    --prepared "sh $WORK/store $mapper $WORK/stored 2 && sh $WORK/settle $volume/mapped && printf old2 >$volume/same; touch -d 2020-02-02 $volume/same" \
    --precommitted "sh $WORK/store $mapper $WORK/stored 3; printf new3 >$volume/same; touch -d 2020-02-02 $volume/same" \
    --thawed "sh $WORK/store $mapper $WORK/stored 4" \
    --then "cp -r \$IMAGE $WORK/copy" || fail "$type: no copy"
  [ "$(dd if="$WORK/copy/mapped" bs=1 skip=4096 count=4 status=none)" = 0003 ] || fail "$type: the mapped store is missing"
  [ "$(dd if="$WORK/copy/mapped" bs=1 skip=8192 count=4 status=none)" = 0003 ] || fail "$type: the mapped stores are torn"
  [ "$(cat "$WORK/copy/same")" = new3 ] || fail "$type: the silent write is missing: $(cat "$WORK/copy/same")"
  kill_and_wait $mapper
  rm -rf "$WORK/copy" "$WORK/stored"

  mkdir "$volume/run"
  python3 "$WORK/runner" "$volume/run" "$WORK/running" &
  runner=$!
  cleanup_fn kill_and_wait $runner
  wait_for 10 test -e "$WORK/running" || fail "the runner did not start"
  for _ in 1 2 3; do
    copy_of "$volume" --held "cp -r $volume/run $WORK/held" --then "diff -r $WORK/held \$IMAGE/run" ||
      fail "$type: a mapped file is not as it was under the hold"
    rm -r "$WORK/held"
  done
  kill_and_wait $runner
  rm "$WORK/running"
done
