#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs programs with `umbra run` itself: over the working directory's volume and over several, with --keep, and looks
# at what they are given, at every kind of exit status, at signals, at nohup, and at a terminal.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program btrfs python3 setpriv script

make_volume first btrfs 256M
make_volume second btrfs 256M
for v in first second; do
  mkdir "$WORK/$v/dir" "$WORK/$v/keep"
  echo old >"$WORK/$v/dir/file"
  echo old >"$WORK/$v/keep/file"
done
cd "$WORK/first"
run() { "$UMBRA" --quiet run "$@"; }
# expect_said TEXT COMMAND...
expect_said() {
  local wanted=$1 said; shift
  said=$("$@" 2>"$WORK/errors") || fail "status $? of: $*: $(cat "$WORK/errors")"
  [ "$said" = "$wanted" ] || fail "'$said' instead of '$wanted' from: $*"
}

# Each writes to the live file first, through what stayed live: so what it reads is not that.
expect_said old run -- sh -c 'echo new >&3; cat dir/file' 3<>dir/file
expect_said new cat dir/file
echo old >dir/file
expect_said "old new" run -- sh -c "echo \$(cat dir/file; echo new >'$WORK/second/dir/file'; cat '$WORK/second/dir/file')"
echo old >"$WORK/second/dir/file"
expect_said "old old refused" run --of "$WORK/first" --of "$WORK/second/dir" -- sh -c \
  "echo \$(cat dir/file '$WORK/second/dir/file'; touch x '$WORK/second/x' 2>/dev/null || echo refused)"
expect_said "kept" run --keep keep -- sh -c "echo kept >keep/file; cat keep/file"
expect_said kept cat keep/file

# What the program is given is what it would have without umbra.
cat >"$WORK/state.py" <<'END'
import os, resource, signal
print(sorted((k, v) for k, v in os.environ.items() if k != "_"), os.getresuid(), os.getresgid(), os.getgroups(), os.umask(0))
print(os.getpgid(0), os.getsid(0), os.getcwd(), [resource.getrlimit(r) for r in range(16)], os.nice(0), os.sched_getaffinity(0))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), [s for s in range(1, 65) if s not in (9, 19, 32, 33) and signal.getsignal(s) == signal.SIG_IGN])
print([line for line in open("/proc/self/status") if line.split(":")[0] in
       ("SigBlk", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "VmLck")])
print(open("/proc/self/oom_score_adj").read(), open("/proc/self/cgroup").read())
print(sorted((int(f), os.readlink(f"/proc/self/fd/{f}")) for f in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{f}")))
END
export SPACES='a  b'
for ignored in USR2 PIPE CHLD HUP; do
  # shellcheck disable=SC2064
  state() { (umask 027; ulimit -n 500; trap '' $ignored; exec "$@" python3 "$WORK/state.py" 7<"$WORK/state.py" >"$WORK/given" 2>"$WORK/errors" </dev/null); }
  state env || fail "the program does not work: $(cat "$WORK/errors")"
  mv "$WORK/given" "$WORK/wanted"
  state "$UMBRA" --quiet run -- || fail "status $?: $(cat "$WORK/errors")"
  diff "$WORK/wanted" "$WORK/given" || fail "the program is not given the same (SIG$ignored ignored)"
done

for status in 0 1 2 3 77 125 126 127 255; do expect_status $status run -- sh -c "exit $status"; done
for signal in 1 2 9 15; do expect_status $((128 + signal)) run -- sh -c "kill -$signal \$\$"; done
expect_status 127 run -- no-such-program
[ "$(cat "$WORK/output")" = "umbra: running 'no-such-program': No such file or directory" ] || fail "said: $(cat "$WORK/output")"
expect_status 126 run -- "$WORK/first/dir"
expect_output "^umbra: running '$WORK/first/dir': Permission denied"
expect_status 125 run --of /proc -- true
expect_output "^umbra: "
expect_status 125 run --provider no-such -- true
expect_status 125 run --keep no-such -- true
expect_status 2 run
expect_status 2 run --no-such-option -- true
# A program's options are its own.
expect_said "--of --keep -x" run -- echo --of --keep -x

# Signals sent to umbra: to the program, once it runs.
cat >"$WORK/wait.sh" <<'END'
trap 'echo got TERM; exit 9' TERM
trap 'echo got HUP' HUP
echo ready
while :; do read -r line <"$1" || true; done
END
mkfifo "$WORK/never"
start() {
  : >"$WORK/said"
  background "$@" </dev/null >"$WORK/said" 2>&1
  wait_for 30 grep -q ready "$WORK/said" || fail "the program did not start: $(cat "$WORK/said")"
}
start "$UMBRA" --quiet run -- sh "$WORK/wait.sh" "$WORK/never"
kill -HUP "$PID"
wait_for 10 grep -q "got HUP" "$WORK/said" || fail "SIGHUP did not reach the program"
kill -TERM "$PID"
status=0
wait "$PID" || status=$?
[ "$status" = 9 ] || fail "status $status after SIGTERM"
start nohup "$UMBRA" --quiet run -- sh -c 'echo ready; read -r line <"$1"; exit 8' - "$WORK/never"
kill -HUP "$PID"
echo go >"$WORK/never"
status=0
wait "$PID" || status=$?
[ "$status" = 8 ] || fail "status $status under nohup"

# On a terminal it is the foreground job.
expect_said $'terminal\r' script -qec "$UMBRA --quiet run -- sh -c 'test -t 0 && ps -o stat= -p \$\$ | grep -q + && echo terminal'" /dev/null

expect_said "no shadows" "$UMBRA" list
[ "$(btrfs subvolume list "$WORK/first" | wc -l)" = 0 ] || fail "a snapshot is left"
[ -z "$(ls -A "$UMBRA_RUNTIME_DIR/sets")" ] || fail "a journal is left"
