#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test writes numbers in turn to three subvolumes while snapshots are taken. Whenever umbra calls the result one instant the
# numbers must be in order; when it cannot be, umbra must have said so.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.btrfs btrfs python3

make_volume v btrfs 256M 2>/dev/null
export v=$WORK/v
mkdir "$WORK/storage"
btrfs subvolume create "$v/a" >/dev/null
btrfs subvolume create "$v/b" >/dev/null

# Bursts with pauses in between, so that some snapshots fall into quiet times and some do not.
cat >"$WORK/writer.py" <<'END'
import os, sys, time
v = sys.argv[1]
files = [os.open(f"{v}/{name}", os.O_CREAT | os.O_WRONLY) for name in ("a/n", "n", "b/n")]
number, end = 0, time.monotonic() + 60
while time.monotonic() < end:
    for _ in range(40):
        number += 1
        for f in files:
            os.pwrite(f, b"%08d" % number, 0)
            os.fsync(f)
    time.sleep(0.15)
END
python3 "$WORK/writer.py" "$v" &
writer=$!
cleanup_fn kill "$writer"
for _ in $(seq 100); do [ -s "$v/b/n" ] && break; sleep 0.05; done

export judge="$WORK/judge"
cat >"$judge" <<'END'
set -eu
path() { jq -r ".view.nested[] | select(.at == \"$1\") | .path" "$RECORD"; }
echo "$(cat "$(path a)/n") $(cat "$(jq -r .view.path "$RECORD")/n") $(cat "$(path b)/n")"
END
claimed=0 given_up=0
for _ in $(seq 25); do
  "$BUILD/tests/provider-drive" --then 'bash "$judge" >"$judge.out"' btrfs "$v" "$WORK/storage" >/dev/null 2>"$WORK/messages" ||
    fail "$(cat "$WORK/messages")"
  if grep -q 'instant lost' "$WORK/messages"; then
    given_up=$((given_up + 1))
    continue
  fi
  claimed=$((claimed + 1))
  read -r a root b <"$judge.out"
  a=$((10#$a)) root=$((10#$root)) b=$((10#$b))
  [ "$a" -ge "$root" ] && [ "$root" -ge "$b" ] && [ "$b" -ge $((a - 1)) ] ||
    fail "called one instant, but the numbers are $a $root $b"
done
kill -0 "$writer" || fail "the writer ended too early"
echo "$claimed of 25 one instant, $given_up told as not"
[ "$claimed" -gt 0 ] || fail "never one instant, though the writer pauses"
