#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up a directory of an ext4 and an XFS volume while a program makes files elsewhere on the volume, moves them in one by
# one and removes old ones: each backup holds an unbroken range of them, each whole, and did not copy the rest of the volume.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"
requires_program jq

cat >"$WORK/mover.py" <<'END'
import hashlib, os, random, sys, time
root, rng, number = sys.argv[1], random.Random(11), 0
while True:
    # Made well before they are moved: what they hold is on the disk, and not in the plan.
    for i in range(number, number + 20):
        data = rng.randbytes(rng.randrange(8000))
        with open(f"{root}/outside/{i}", "wb") as f:
            f.write(data + hashlib.sha256(data).digest())
            if i % 7 == 0:
                f.flush()
                os.fsync(f.fileno())
    time.sleep(0.05)
    for i in range(number, number + 20):
        os.rename(f"{root}/outside/{i}", f"{root}/wanted/{i}")
        if i >= 400:
            os.unlink(f"{root}/wanted/{i - 400}")
    number += 20
    with open(sys.argv[2], "w") as f:
        f.write(str(number))
END
cat >"$WORK/judge.py" <<'END'
import hashlib, os, sys
names = sorted(int(n) for n in os.listdir(sys.argv[1]))
if not names or names != list(range(names[0], names[-1] + 1)) or not 380 <= len(names) <= 401:
    sys.exit(f"{len(names)} files from {names[:3]} to {names[-3:]}: not what the directory ever held")
for n in names:
    with open(f"{sys.argv[1]}/{n}", "rb") as f:
        data = f.read()
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        sys.exit(f"file {n} is not as it was written")
print(f"{names[0]} to {names[-1]}")
END
reached() { [ -s "$WORK/number" ] && [ "$(cat "$WORK/number")" -ge "$1" ]; }

for type in ext4 xfs; do
  make_volume "$type" "$type" 400M
  v=$WORK/$type
  mkdir "$v/wanted" "$v/outside"
  head -c 150M /dev/urandom >"$v/filler"
  sync -f "$v"
  rm -f "$WORK/number"
  background python3 "$WORK/mover.py" "$v" "$WORK/number"
  mover=$PID
  wait_for 60 reached 500 || fail "the mover is stuck"
  for n in 1 2; do
    "$UMBRA" backup --provider clone --no-writers --type full "$v/wanted" --to "$WORK/backups-$type" >"$WORK/out" 2>&1 ||
      { cat "$WORK/out" >&2; fail "$type: backup $n failed"; }
    kill -0 "$mover" || fail "$type: the mover has ended"
    "$UMBRA" restore "$WORK/backups-$type" --to "$WORK/restored-$type-$n" >"$WORK/out" 2>&1 || { cat "$WORK/out" >&2; fail "restore"; }
    range=$(python3 "$WORK/judge.py" "$WORK/restored-$type-$n$v/wanted") || fail "$type: backup $n is not one instant"
    document=$(find "$WORK/backups-$type" -name backup.json -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
    bytes=$(jq -er '.set.shadows[0].storage_bytes' "$document")
    echo "$type: files $range, $bytes bytes copied"
    [ "$(jq -r '.set.instant' "$document")" = set ] || fail "$type: the backup does not claim one instant"
    # About 2 MB are wanted, and the mover writes meanwhile; all would be more than 162 MB.
    [ "$bytes" -le $((100 << 20)) ] || fail "$type: backup $n copied $bytes bytes"
    rm -rf "${WORK:?}/restored-$type-$n"
  done
  kill_and_wait "$mover" || true
  umount "$v"
done
