#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test deletes a set of two copied trees (provider files) while a program reads in one that is mounted, and expects an error that
# names the program, a set that is still whole, and no trace of it once the program has ended.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

for name in one two; do
  make_volume $name ext4 64M
  mkdir "$WORK/$name/folder"
  echo "$name" >"$WORK/$name/folder/file"
done
document=$("$UMBRA" --json create --persistent --provider files --no-writers "$WORK/one" "$WORK/two") || fail "no set"
set=$(jq -r .set.id <<<"$document")
shadow_of() { jq -r --arg v "$WORK/$1" '.set.shadows[] | select(.volume == $v) | .id' <<<"$document"; }
for name in one two; do
  mkdir "$WORK/at-$name"
  expect_status 0 "$UMBRA" mount "$(shadow_of $name)" "$WORK/at-$name"
done

# refused PID NAME: every way to delete it names the process, and leaves the set as it is
refused() {
  local words name
  for words in "$set" --all "--oldest $WORK/two"; do
    # shellcheck disable=SC2086 # two words are meant to be two
    expect_status 1 "$UMBRA" delete $words
    expect_output "unmounting '$WORK/at-two': process $1 \\($2\\) still uses it"
  done
  [ "$("$UMBRA" --json list sets | jq -r '.sets[].id')" = "$set" ] || fail "the set is not listed any more"
  # What nobody used is not mounted any more, but it is there.
  [ -d "$WORK/at-one/folder" ] || "$UMBRA" mount "$(shadow_of one)" "$WORK/at-one" >/dev/null || fail "the other shadow copy is gone"
  for name in one two; do
    [ "$(cat "$WORK/at-$name/folder/file")" = $name ] || fail "shadow copy of $name is not whole"
  done
}

# An open file, a working directory.
background sleep 1000 5<"$WORK/at-two/folder/file"
wait_for 10 grep -qx sleep "/proc/$PID/comm" || fail "the program does not start"
refused "$PID" sleep
kill_and_wait "$PID"
background env -C "$WORK/at-two/folder" sleep 1000
wait_for 10 test "$WORK/at-two/folder" -ef "/proc/$PID/cwd" || fail "the program does not go there"
wait_for 10 grep -qx sleep "/proc/$PID/comm" || fail "the program does not start"
refused "$PID" sleep
kill_and_wait "$PID"

expect_status 0 "$UMBRA" delete "$set"
[ -z "$(find "$WORK/at-one" "$WORK/at-two" -mindepth 1)" ] || fail "something is still mounted"
[ -z "$(find "$WORK/state" -name file -print -quit)" ] || fail "the copies are still there"
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "the set is still listed"
