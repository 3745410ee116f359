#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills `umbra run`, its program, or both with SIGKILL, on btrfs (a snapshot), ext4 (a clone, or a tree of files):
# nothing is left, not the program's children either where their tree goes away, and the next command works.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq btrfs fsfreeze

make_volume snapshots btrfs 256M
make_volume volume ext4 64M
for v in snapshots volume; do
  mkdir "$WORK/$v/dir"
  echo old >"$WORK/$v/dir/file"
done
ended() { ! kill -0 "$1"; }
view_users() { grep -l " $WORK/[a-z]* ro,.*nosuid" /proc/[0-9]*/mountinfo 2>/dev/null; true; }
no_view_users() { [ -z "$(view_users)" ]; }
kill_view_users() { for m in $(view_users); do m=${m#/proc/}; kill -KILL "${m%/mountinfo}"; done; }
cleanup_fn kill_view_users
loops_of_storage() { losetup -l -n -O BACK-FILE | grep "$UMBRA_STATE_DIR/storage\|$WORK/.*deleted"; }
no_loops() { ! loops_of_storage; }
nothing_stored() { [ -z "$(ls -A "$UMBRA_RUNTIME_DIR/sets")" ] && [ -z "$(find "$UMBRA_STATE_DIR/storage" -type f 2>&1)" ] && no_snapshots; }
no_snapshots() { [ "$(btrfs subvolume list "$WORK/snapshots" | wc -l)" = 0 ]; }

# start VOLUME PROVIDER SHELL-COMMAND: sets PID and PROGRAM
start() {
  rm -f "$WORK/ready"
  background "$UMBRA" --quiet run --provider "$2" --of "$WORK/$1" -- \
    sh -c "cat '$WORK/$1/dir/file' >'$WORK/read'; echo \$\$ >'$WORK/ready.new'; mv '$WORK/ready.new' '$WORK/ready'; $3" >/dev/null 2>"$WORK/errors"
  wait_for 60 test -s "$WORK/ready" || fail "$1, $2: the program did not start: $(cat "$WORK/errors")"
  [ "$(cat "$WORK/read")" = old ] || fail "$1, $2: not the shadow copy"
  PROGRAM=$(cat "$WORK/ready")
}
# all_gone WHAT
all_gone() {
  wait_for 20 ended "$PROGRAM" || fail "$1: the program is left"
  wait_for 20 no_view_users || fail "$1: the view is still used by $(view_users)"
  expect_status 0 "$UMBRA" recover
  wait_for 20 no_loops || fail "$1: a loop device is left: $(loops_of_storage)"
  wait_for 20 nothing_stored || fail "$1: left: $(ls -A "$UMBRA_RUNTIME_DIR/sets"; find "$UMBRA_STATE_DIR/storage"; btrfs subvolume list "$WORK/snapshots")"
}

for pair in snapshots:btrfs volume:clone volume:files; do
  volume=${pair%:*} provider=${pair#*:}
  start "$volume" "$provider" "exec tail -f /dev/null"
  kill -KILL "$PID"
  all_gone "$pair, umbra killed"
  start "$volume" "$provider" "exec tail -f /dev/null"
  kill -KILL "$PROGRAM"
  status=0
  wait "$PID" || status=$?
  [ "$status" = 137 ] || fail "$pair: status $status after its program was killed"
  all_gone "$pair, program killed"
  start "$volume" "$provider" "exec tail -f /dev/null"
  kill -KILL "$PID" "$PROGRAM"
  all_gone "$pair, both killed"
done

# A pipeline below the program, which SIGTERM to the program does not reach; and one that does not care for it.
for pair in snapshots:btrfs volume:files; do
  volume=${pair%:*} provider=${pair#*:}
  start "$volume" "$provider" "trap '' TERM; tail -f '$WORK/$volume/dir/file' | cat"
  kill -KILL "$PID"
  all_gone "$pair, umbra of a pipeline killed"
  # In the background after the program's end: it must not read on from a tree that is gone.
  start "$volume" "$provider" "(exec tail -f '$WORK/$volume/dir/file') &"
  wait "$PID" || fail "$pair: status $?"
  all_gone "$pair, a child left in the background"
done

# The live volumes take writes, and the next run works.
for v in snapshots volume; do
  accepts_write "$WORK/$v" 5 || fail "$v does not accept a write"
  [ "$(cd "$WORK/$v" && "$UMBRA" --quiet run -- cat dir/file)" = old ] || fail "$v: the next run does not work"
done
