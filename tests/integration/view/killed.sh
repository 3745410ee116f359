#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills, with SIGKILL, what runs a program over a shadow copy, the program, both, and at every moment in between: no
# mount, no loop device and no process is left.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup python3

make_volume vol ext4 64M
mkdir "$WORK/bind"
echo old >"$WORK/vol/file"
freeze_image vol
mount --bind "$WORK/vol" "$WORK/bind"
plan "$(image_plan vol ext4)"
grep -c "$WORK" /proc/self/mountinfo >"$WORK/mounts-before"

start() {
  rm -f "$WORK/ready"
  background "$VIEW_RUN" "$WORK/plan" -- sh -c "echo \$\$ >'$WORK/ready.new'; mv '$WORK/ready.new' '$WORK/ready'; exec tail -f '$WORK/vol/file'" >/dev/null
  wait_for 10 test -s "$WORK/ready" || fail "the program did not start"
  PROGRAM=$(cat "$WORK/ready")
}
ended() { ! kill -0 "$1"; }
# nothing_left WHAT
nothing_left() {
  wait_for 10 ended "$PROGRAM" || fail "$1: the program is left"
  expect_gone "$WORK/vol.shadow"
  [ "$(grep -c "$WORK" /proc/self/mountinfo)" = "$(cat "$WORK/mounts-before")" ] || fail "$1: a mount is left"
}

start
kill -KILL "$PID"
nothing_left "umbra killed"
start
kill -KILL "$PROGRAM"
nothing_left "program killed"
start
kill -KILL "$PROGRAM" "$PID"
nothing_left "both killed"
start
kill -STOP "$PROGRAM"
kill -KILL "$PID"
kill -CONT "$PROGRAM"
nothing_left "umbra killed while the program was stopped"

# A program's child in the background keeps the view, and only as long as it lives itself.
mkfifo "$WORK/go"
expect_status 0 view_run -- sh -c "(read -r go <'$WORK/go'; cat '$WORK/vol/file' >'$WORK/child-said') >/dev/null 2>&1 &"
echo new >"$WORK/vol/file"
[ -n "$(loops_of "$WORK/vol.shadow")" ] || fail "the background child lost its view"
echo go >"$WORK/go"
wait_for 10 grep -q old "$WORK/child-said" || fail "the background child does not see the shadow copy"
expect_gone "$WORK/vol.shadow"

# At any moment: a delay in steps of 0.2 ms, past the point where the program runs. The delay chooses the moment, no more.
python3 - "$VIEW_RUN" "$WORK/plan" <<'END'
import subprocess, sys, time
for step in range(60):
    p = subprocess.Popen([sys.argv[1], sys.argv[2], "--", "tail", "-f", sys.argv[2]], stdout=subprocess.DEVNULL)
    time.sleep(step * 0.0002)
    p.kill()
    p.wait()
END
nobody_left() { ! pgrep -f "^tail -f $WORK/plan"; }
wait_for 10 nobody_left || fail "a program is left"
nothing_left "killed at any moment"

# A tree that is about to be removed: all that still shows it over its volume is ended first, and nothing else.
mkdir "$WORK/tree"
echo old >"$WORK/tree/file"
plan "$(tree_plan "$WORK/vol" "$WORK/tree")"
mkfifo "$WORK/never"
tree_users() { grep -l "/tree $WORK/vol " /proc/[0-9]*/mountinfo 2>/dev/null; true; }
kill_tree_users() { for m in $(tree_users); do m=${m#/proc/}; kill -KILL "${m%/mountinfo}"; done; }
cleanup_fn kill_tree_users
# A program that ignores SIGTERM, and a child of one that does not; their umbra is killed.
for program in "trap '' TERM; touch '$WORK/started'; while :; do read -r x <'$WORK/never'; done" \
  "(touch '$WORK/started'; exec tail -f '$WORK/vol/file') & wait"; do
  rm -f "$WORK/started"
  background "$VIEW_RUN" "$WORK/plan" -- sh -c "$program" >/dev/null
  wait_for 10 test -e "$WORK/started" || fail "the program did not start"
  kill -KILL "$PID"
done
# Not concerned: a namespace that shows the tree elsewhere, one that shows the live volume, and this one.
mkdir "$WORK/elsewhere"
: >"$WORK/bystanders"
unshare --mount sh -c "mount --bind '$WORK/tree' '$WORK/elsewhere'; echo \$\$ >>'$WORK/bystanders'; exec sleep 1000" &
cleanup_fn kill_and_wait $!
unshare --mount sh -c "echo \$\$ >>'$WORK/bystanders'; exec sleep 1000" &
cleanup_fn kill_and_wait $!
two_bystanders() { [ "$(wc -l <"$WORK/bystanders")" = 2 ]; }
wait_for 10 two_bystanders || fail "the bystanders did not start"
[ -n "$(tree_users)" ] || fail "nothing is left in the view: nothing is proven"
expect_status 0 "$VIEW_RUN" --end-users "$WORK/plan"
[ -z "$(tree_users)" ] || fail "the tree is still shown by: $(tree_users)"
while read -r pid; do kill -0 "$pid" || fail "a bystander was killed"; done <"$WORK/bystanders"
# The live volume as its own shadow copy (the null provider): nobody is ended.
plan "$(tree_plan "$WORK/vol" "$WORK/vol")"
expect_status 0 "$VIEW_RUN" --end-users "$WORK/plan"
while read -r pid; do kill -0 "$pid" || fail "a user of the live volume was killed"; done <"$WORK/bystanders"
