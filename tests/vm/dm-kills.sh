#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills, in a virtual machine with Linux 6.12, whoever works for a device-mapper volume while shadow copies come and go: the server, the
# supervisor, who switches, the command; at any moment, under fio that checks what it reads. The volume is never suspended, no I/O fails, nothing is left.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 dmsetup python3 e2fsck fio
in_vm --timeout 580 --disk 96M
. "$TOP/tests/lib/dm-switch.sh"
ROUNDS=${ROUNDS:-30}
trace() { echo "$SECONDS s: $*"; }
# Never longer suspended than the one system call, in which dmsetup does not see it.
runs() { [ "$(way a)" != suspended ] && accepts_write "$WORK/a" 10; }
create() { "$UMBRA" --json create --no-writers --provider cow "$WORK/a" >"$WORK/created" 2>"$WORK/create.err"; }

mapped_volume a ext4 /dev/vda --limit 300000000
fio --thread --name=verified --filename="$WORK/a/file" --size=30M --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 --direct=1 --rate_iops=300 \
  --verify=crc32c --verify_backlog=512 --verify_fatal=1 --verify_state_save=0 --time_based --runtime=600 --output="$WORK/fio.out" 2>&1 &
load=$!
cleanup_fn kill_and_wait "$load"
# kill_any SECONDS: after a while of at most so long, one process that is at work for the volume; prints which it was
kill_any() {
  python3 - "$1" "$BUILD/umbra-cow" <<'END'
import os, random, signal, sys, time
time.sleep(random.uniform(0, float(sys.argv[1])))
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        arguments = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
    except OSError:
        continue
    if arguments[0] in (b"@umbra-cow", os.fsencode(sys.argv[2])):
        role = arguments[1].decode()
    elif arguments[0].endswith(b"bin/umbra"):
        role = "command"
    else:
        continue
    found.append((role, int(pid)))
switchers = [f for f in found if f[0] in ("direct", "through-engine")]
# Who switches is there for moments only: he is taken if he is.
role, pid = random.choice(switchers or found)
try:
    os.kill(pid, signal.SIGKILL)
except ProcessLookupError:
    role = "nobody"
print(role)
END
}
answers() { attached_status a way >/dev/null 2>&1; }
for ((i = 0; i < ROUNDS; i++)); do
  create &
  maker=$!
  kill_any 1.5 >>"$WORK/victims"
  wait "$maker" || true
  "$UMBRA" --quiet delete --all >"$WORK/deleted" 2>&1 &
  maker=$!
  kill_any 0.5 >>"$WORK/victims"
  wait "$maker" || true
  wait_for 60 answers || fail "no server came after round $i: $(tail -n 2 "$WORK/victims")"
  runs || fail "round $i: the volume is $(way a) after the death of $(tail -n 2 "$WORK/victims")"
  kill -0 "$load" 2>/dev/null || { cat "$WORK/fio.out" >&2; fail "fio ended"; }
  trace "round $i: $(tail -n 2 "$WORK/victims" | tr "\n" " ")"
done
trace "killed: $(sort "$WORK/victims" | uniq -c | tr -s ' \n' ' ')"
"$UMBRA" recover >/dev/null
"$UMBRA" --quiet delete --all
goes a direct
# One more is as good as ever.
create || fail "$(cat "$WORK/create.err")"
goes a engine
"$UMBRA" --quiet delete --all
goes a direct
kill -INT "$load"
wait "$load" || true
grep -q 'err= 0:' "$WORK/fio.out" || { grep -vE 'percentile|th=\[|lat |IO depths' "$WORK/fio.out" >&2; fail "fio saw an error"; }
plain_again a /dev/vda
nothing_mapped
trace "done"
