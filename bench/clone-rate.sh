#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How fast is a clone, against copying the same bytes by direct reads and writes of 1 MiB? And how much memory do the processes take?
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program jq

ROUNDS=${ROUNDS:-9} MEGABYTES=${MEGABYTES:-2048}
make_volume v ext4 "$((MEGABYTES + 256))M"
losetup --direct-io=on "$DEVICE"
dd if=/dev/urandom of="$WORK/v/data" bs=1M count="$MEGABYTES" status=none
sync -f "$WORK/v"
mkdir "$WORK/storage"
plain() { dd if="$DEVICE" of="$WORK/storage/plain" bs=1M count="$MEGABYTES" iflag=direct oflag=direct status=none; }
clone() { "$BUILD/tests/provider-drive" --keep clone "$WORK/v" "$WORK/storage" >"$WORK/record" 2>"$WORK/log"; }
# To free what was written takes a tenth of the time, for either file: it is no part of copying.
for ((i = 0; i < ROUNDS; i++)); do
  milliseconds plain >>"$WORK/plain-ms"
  rm "$WORK/storage/plain"
  milliseconds clone >>"$WORK/clone-ms"
  "$BUILD/tests/provider-drive" --remove clone "$WORK/record"
  sed -n 's/^storage_bytes //p' "$WORK/log" >>"$WORK/bytes"
done
# A round's pair is compared: the disk's own speed changes from round to round by more than what is looked for.
paste "$WORK/plain-ms" "$WORK/clone-ms" "$WORK/bytes" | awk -v m="$MEGABYTES" '{ print ($3 / $2) / (m * 1048576 / $1) }' >"$WORK/rates"
figure "clone: rate against direct copying of as many bytes, median of $ROUNDS pairs" "$(median <"$WORK/rates")" "" 0.9 more
echo "clone-rate: $(paste "$WORK/bytes" "$WORK/clone-ms" | awk '{ print $1 / $2 / 1000 }' | median) MB/s; pairs: $(sort -n "$WORK/rates" | tr '\n' ' ')" >&2

# The whole process tree of one create, looked at every few milliseconds: resident, what is shared counted once (PSS).
python3 - "$UMBRA" "$WORK/v" "$WORK/storage" >"$WORK/memory" <<'END'
import subprocess, sys, time
umbra, volume, storage = sys.argv[1:]
def tree(pid):
    found = [pid]
    try:
        for task in open(f"/proc/{pid}/task/{pid}/children").read().split():
            found += tree(task)
    except OSError:
        pass
    return found
def pss(pid):
    try:
        return next(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0
p = subprocess.Popen([umbra, "--quiet", "--json", "create", "--no-writers", "--provider", "clone", "--storage", storage, volume], stdout=subprocess.DEVNULL)
most = 0
while p.poll() is None:
    most = max(most, sum(pss(pid) for pid in tree(str(p.pid))))
    time.sleep(0.005)
if p.returncode:
    sys.exit("umbra create failed")
print(most / 1024)
END
"$UMBRA" --quiet delete --all
rm -rf "$WORK/storage"; mkdir "$WORK/storage"
# 24 MiB of it are the memory of the last round.
figure "clone: memory of the process tree without the last round" "$(awk '{ print $1 - 24 }' "$WORK/memory")" " MiB" 96
