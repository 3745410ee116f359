#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs programs over a shadow copy and looks at what they are given: working directory, environment, user, groups,
# umask, limits, descriptors, signal mask, process group and session, and at every exit status.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup setpriv python3

make_volume vol ext4 64M
mkdir -p "$WORK/vol/dir/deep" "$WORK/live"
echo '#!/nonexistent/interpreter' >"$WORK/vol/script"
cp /bin/true "$WORK/vol/plain"
printf 'echo no magic\n' >"$WORK/vol/headless"
chmod 755 "$WORK/vol/script" "$WORK/vol/headless"
chmod 644 "$WORK/vol/plain"
chmod 755 "$WORK" "$WORK/vol"
freeze_image vol
mkdir "$WORK/vol/later"
plan "$(image_plan vol ext4)"

# Working directory: re-entered by path, inside and outside of the volume.
for d in "$WORK/vol" "$WORK/vol/dir/deep" "$WORK/live" /; do
  [ "$(cd "$d" && view_run -- /bin/pwd -P)" = "$d" ] || fail "the working directory is not $d"
done
(cd "$WORK/vol/dir" && view_run -- sh -c '! touch here') 2>/dev/null || fail "the working directory is the live one"
(cd "$WORK/vol/later" && expect_status 125 view_run -- true)
expect_output "working directory '$WORK/vol/later'.*not in the shadow copy"
mkdir "$WORK/removed"
(cd "$WORK/removed" && rmdir "$WORK/removed" && expect_status 125 view_run -- true)

# Everything else a process has, compared with the same process without umbra.
cat >"$WORK/state.py" <<'END'
import os, resource, signal
print(sorted(os.environ.items()), os.getresuid(), os.getresgid(), os.getgroups(), os.umask(0), os.getpgid(0), os.getsid(0))
print([resource.getrlimit(r) for r in range(16)], os.nice(0), os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), [s for s in range(1, 65) if s not in (9, 19, 32, 33) and signal.getsignal(s) == signal.SIG_IGN])
print([line for line in open("/proc/self/status") if line.split(":")[0] in
       ("SigBlk", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")])
print(open("/proc/self/oom_score_adj").read(), open("/proc/self/cgroup").read(), open("/proc/self/timerslack_ns").read())
# Its own are 0-2 and what this file and the directory are read through.
print(sorted((int(f), os.readlink(f"/proc/self/fd/{f}")) for f in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{f}")))
END
export EMPTY='' SPACES='a  b' NEWLINE=$'a\nb'
state() { (umask 027; ulimit -n 500; trap '' USR2; exec "$@" python3 "$WORK/state.py" 7<"$WORK/state.py" 3>&- 2>"$WORK/errors" </dev/null); }
state env >"$WORK/without"
state "$VIEW_RUN" "$WORK/plan" -- >"$WORK/with"
# "_" is set by the shell for each program it starts.
diff <(sed "s/('_', '[^']*')//" "$WORK/without") <(sed "s/('_', '[^']*')//; s,$WORK/with',$WORK/without'," "$WORK/with") || fail "the program is not given the same"
grep -q SPACES "$WORK/with" || fail "nothing was compared: $(cat "$WORK/errors")"

# A root's program may become somebody else in the view.
[ "$(view_run -- setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'id -u; id -g; id -G')" = $'65534\n65534\n65534' ] ||
  fail "setpriv did not work in the view"
[ "$(view_run -- setpriv --reuid=65534 --regid=65534 --clear-groups ls "$WORK/vol/dir")" = deep ] || fail "nobody cannot look into the view"
[ "$(printf 'in' | view_run -- cat)" = in ] || fail "standard input is not the program's"

# Exit statuses.
for status in 0 1 2 3 64 77 125 126 127 128 200 255; do expect_status $status view_run -- sh -c "exit $status"; done
for signal in 1 2 3 6 9 13 15; do expect_status $((128 + signal)) view_run -- sh -c "kill -$signal \$\$"; done
expect_status 127 view_run -- no-such-program-anywhere
expect_output "running 'no-such-program-anywhere': No such file"
expect_status 127 view_run -- "$WORK/vol/no-such"
expect_status 127 view_run -- "$WORK/vol/script"
expect_status 126 view_run -- "$WORK/vol/plain"
expect_output "running '$WORK/vol/plain': Permission denied"
expect_status 126 view_run -- "$WORK/vol"
expect_status 0 view_run -- "$WORK/vol/headless"
# An ignored SIGCHLD must not lose the status.
expect_status 7 python3 -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$VIEW_RUN" "$WORK/plan" -- sh -c "exit 7"
expect_gone "$WORK/vol.shadow"
