# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by tests/vm/dm-kills*.sh, in the guest: whoever works for a device-mapper volume over front $FRONT is killed, ROUNDS times.
# shellcheck shell=bash
. "$TOP/tests/lib/dm-switch.sh"
ROUNDS=${ROUNDS:-30}
trace() { echo "$SECONDS s: $*"; }
# Never longer suspended than the one system call, in which dmsetup does not see it.
runs() { [ "$(way a)" != suspended ] && accepts_write "$WORK/a" 10; }
create() { "$UMBRA" --json create --no-writers --provider cow "$WORK/a" >"$WORK/created" 2>"$WORK/create.err"; }

mapped_volume a ext4 /dev/vda --limit 300000000
fio --thread --name=verified --filename="$WORK/a/file" --size=30M --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 --direct=1 --rate_iops=300 \
  --verify=crc32c --verify_backlog=512 --verify_fatal=1 --verify_state_save=0 --time_based --runtime=3600 --output="$WORK/fio.out" 2>&1 &
load=$!
cleanup_fn kill_and_wait "$load"
# kill_one SECONDS ROLE: ready when it returns; then, after a while of at most so long, kills a process that is at work for the volume in that role,
# or any if there is none for some seconds. Who switches is there for moments only. killed: waits for it.
kill_one() {
  rm -f "$WORK/ready"
  python3 - "$@" "$UMBRA" "$WORK/ready" >>"$WORK/victims" <<'END' &
import os, random, signal, sys, time
SWITCHERS = ("direct", "through-engine")
def at_work():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if arguments[0] == b"@umbra-cow":
            role = arguments[1].decode()
            yield ("switcher" if role in SWITCHERS else role), int(pid)
        elif arguments[0] == os.fsencode(sys.argv[3]):
            yield "command", int(pid)
open(sys.argv[4], "w").close()
time.sleep(random.uniform(0, float(sys.argv[1])))
deadline = time.monotonic() + 5
while True:
    found = list(at_work())
    wanted = [f for f in found if f[0] == sys.argv[2]]
    if wanted or time.monotonic() > deadline:
        break
role, pid = random.choice(wanted or found)
try:
    os.kill(pid, signal.SIGKILL)
except ProcessLookupError:
    role = "nobody"
print(role)
END
  killer=$!
  wait_for 60 test -e "$WORK/ready" || fail "nobody kills"
}
killed() { wait "$killer" || fail "nobody was killed"; }
ROLES=(serve switcher supervise command switcher)
answers() { attached_status a way >/dev/null 2>&1; }
for ((i = 0; i < ROUNDS; i++)); do
  # Every other time it is made in peace, so that there is something to go back from.
  ((i % 2)) || kill_one 1 "${ROLES[RANDOM % 5]}"
  create &
  maker=$!
  ((i % 2)) || killed
  wait "$maker" || true
  kill_one 0.3 "${ROLES[RANDOM % 5]}"
  "$UMBRA" --quiet delete --all >"$WORK/deleted" 2>&1 &
  maker=$!
  killed
  wait "$maker" || true
  wait_for 60 answers || fail "no server came after round $i: $(tail -n 2 "$WORK/victims")"
  runs || fail "round $i: the volume is $(way a) after the death of $(tail -n 2 "$WORK/victims")"
  kill -0 "$load" 2>/dev/null || { cat "$WORK/fio.out" >&2; fail "fio ended"; }
  trace "round $i: $(tail -n 2 "$WORK/victims" | tr "\n" " ")"
done
trace "killed: $(sort "$WORK/victims" | uniq -c | tr -s ' \n' ' ')"
[ "$ROUNDS" -lt 10 ] || for role in serve supervise command switcher; do grep -q "$role" "$WORK/victims" || fail "no $role was killed"; done
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
