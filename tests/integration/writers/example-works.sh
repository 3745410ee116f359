#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets a program write two pages of a notebook, never equal but for moments, under a lock: with either example writer in place
# the shadow copy always has them equal; without it, it does not.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 python3

make_volume v ext4 48M
export NOTEBOOK=$WORK/v/notebook
mkdir "$NOTEBOOK" "$UMBRA_CONFIG_DIR/writers.d"
cat >"$WORK/write.py" <<'END'
import fcntl, os, sys, time
directory = sys.argv[1]
lock = open(f"{directory}/lock", "w")
number = 0
while True:
    number += 1
    fcntl.flock(lock, fcntl.LOCK_EX)
    for page in "one", "two":
        with open(f"{directory}/{page}.new", "w") as f:
            f.write(str(number))
        os.rename(f"{directory}/{page}.new", f"{directory}/{page}")
        time.sleep(0.05)
    fcntl.flock(lock, fcntl.LOCK_UN)
    time.sleep(0.002)
END
background python3 "$WORK/write.py" "$NOTEBOOK"
wait_for 10 test -e "$NOTEBOOK/two"
# different STATUS: makes shadow copies until one has pages that differ, at most 10; prints how many had
different() {
  local i count=0 directory status
  for ((i = 0; i < 10; i++)); do
    status=0
    "$UMBRA" --quiet --json create --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || status=$?
    [ "$status" = 0 ] || fail "status $status: $(cat "$WORK/messages")"
    directory=$("$UMBRA" mount "$(jq -r '.set.shadows[0].id' "$WORK/set")")
    cmp -s "$directory/notebook/one" "$directory/notebook/two" || count=$((count + 1))
    "$UMBRA" unmount "$directory"
    "$UMBRA" --quiet delete --all
    [ "$1" = until-one ] && [ "$count" -gt 0 ] && break
  done
  echo "$count"
}
[ "$(different until-one)" -gt 0 ] || fail "ten shadow copies without a writer, and all were whole: this test proves nothing"
for example in "$BUILD/examples/writer-notebook" "$TOP/examples/writer-notebook.py"; do
  rm -f "$UMBRA_CONFIG_DIR/writers.d/notebook"
  cp "$example" "$UMBRA_CONFIG_DIR/writers.d/notebook"
  [ "$(different all)" = 0 ] || fail "with its writer ($example) the notebook was torn"
  [ "$(jq -r .set.consistency "$WORK/set")" = application ] || fail "$(cat "$WORK/set")"
done
