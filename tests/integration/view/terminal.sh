#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs a program over a shadow copy on a terminal: it is the foreground job, reads the keyboard, gets Ctrl-C and each
# other signal of the terminal exactly once, stops with Ctrl-Z and by itself, goes on with fg, and ends with a hangup.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup python3 bash

make_volume vol ext4 64M
freeze_image vol
plan "$(image_plan vol ext4)"

cat >"$WORK/program.py" <<'END'
import os, signal, sys
counts = {}
def got(number, frame):
    counts[number] = counts.get(number, 0) + 1
    # Not print(): the program may be in it.
    os.write(1, f"<got {signal.Signals(number).name} {counts[number]}>\n".encode())
for name in ("INT", "QUIT", "WINCH"):
    signal.signal(getattr(signal, "SIG" + name), got)
print("<ready", os.tcgetpgrp(0) == os.getpgrp(), os.getpid(), ">", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "stop":
        os.kill(os.getpid(), signal.SIGTSTP)
    if word == "end":
        sys.exit(42)
    print("<read", word, ">", flush=True)
END
cat >"$WORK/terminal.py" <<'END'
import fcntl, os, pty, re, select, signal, struct, sys, termios, time
view_run, plan, program = sys.argv[1:]
pid, master = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    os.environ["PS1"] = "prompt> "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
seen = transcript = ""
def expect(pattern, seconds=20):
    global seen, transcript
    end = time.monotonic() + seconds
    while True:
        match = re.search(pattern, seen)
        if match:
            seen = seen[match.end():]
            return match
        if not select.select([master], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f"no {pattern!r} in {seen!r}")
        new = os.read(master, 65536).decode(errors="replace")
        seen += new
        transcript += new
def send(text):
    os.write(master, text.encode())
expect("prompt> ")
send(f"{view_run} {plan} -- python3 {program}\n")
expect("<ready True")
send("hello\n")
expect("<read hello >")
send("\x03")
expect("<got SIGINT 1>")
send("\x1c")
expect("<got SIGQUIT 1>")
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
expect("<got SIGWINCH 1>")
# Had one come twice, it would be seen before the answer to this.
send("once\n")
expect("<read once >")
if re.search(r"<got \w+ [2-9]", transcript):
    sys.exit(f"a signal came twice: {transcript!r}")
send("\x1a")
expect("Stopped")
expect("prompt> ")
send("fg\n")
send("again\n")
expect("<read again >")
send("stop\n")
expect("Stopped")
expect("prompt> ")
send("fg\n")
expect("<read stop >")
send("end\n")
expect("prompt> ")
send("echo status $?\n")
expect("status 42")
send(f"{view_run} {plan} -- sh -c 'echo sleeping; exec sleep 1000'\n")
expect("sleeping\r\n")
send("\x03")
expect("prompt> ")
send("echo status $?\n")
expect("status 130")
# Hangup: the terminal goes away under the program.
send(f"{view_run} {plan} -- sh -c 'echo sleeping; exec sleep 1000'\n")
expect("sleeping\r\n")
os.close(master)
os.waitpid(pid, 0)
END
timeout -s KILL 100 python3 "$WORK/terminal.py" "$VIEW_RUN" "$WORK/plan" "$WORK/program.py" || fail "see above"
nobody_left() { ! pgrep -f "$WORK/plan" && ! pgrep -f "$WORK/program.py"; }
wait_for 10 nobody_left || fail "a process is left after the hangup"
expect_gone "$WORK/vol.shadow"
