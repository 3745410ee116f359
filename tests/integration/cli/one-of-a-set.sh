#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test deletes one shadow copy of a set by its id: the other stays what it was, and the set goes with the last. Directories are named as the
# shell's user does when mounting and unmounting: relative, ".", with a slash at the end; what is none is said.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq
cleanup_fn "$UMBRA" delete --all

for name in one two; do
  make_volume $name ext4 64M
  echo $name >"$WORK/$name/file"
done
document=$("$UMBRA" create --json --label pair --provider clone --no-writers "$WORK/one" "$WORK/two") || fail "no set"
shadow_of() { jq -r --arg v "$WORK/$1" '.set.shadows[] | select(.volume == $v) | .id' <<<"$document"; }
one=$(shadow_of one) two=$(shadow_of two)

cd "$WORK"
mkdir at
for directory in at at/ ./at "$WORK/at"; do
  [ "$("$UMBRA" mount "$two" "$directory")" = "$WORK/at" ] || fail "mount at $directory"
  [ "$(cat at/file)" = two ] || fail "not mounted at $directory"
  expect_status 0 "$UMBRA" unmount "$directory"
  [ -z "$(ls at)" ] || fail "still mounted at $directory"
done
"$UMBRA" mount "$two" at >/dev/null
(cd at && "$UMBRA" unmount .) 2>"$WORK/output" && fail "unmounted while somebody is in it"
expect_output "still uses it"
expect_status 1 "$UMBRA" unmount "$WORK/one"
expect_output "unmounting '$WORK/one': no shadow copy is mounted there"
expect_status 1 "$UMBRA" unmount nowhere
expect_output "unmounting 'nowhere': no set or shadow copy 'nowhere'"
expect_status 1 "$UMBRA" mount "$one" one/file
expect_output "one/file': Not a directory"

expect_status 0 "$UMBRA" delete "$one"
[ "$("$UMBRA" list shadows --json | jq -r '.shadows[].id')" = "$two" ] || fail "not only the other one is listed"
[ "$(cat at/file)" = two ] || fail "the other one is not mounted any more"
[ "$(find state/storage -name "*$one*")" = '' ] || fail "something of it is left: $(find state/storage)"
expect_status 1 "$UMBRA" mount "$one"
expect_output "$one"
set=$("$UMBRA" --json list sets | jq -r '.sets[0].id')
# What was done is told in whole ids, or as it was given; of several those that are gone.
[ "$("$UMBRA" unmount --json pair | jq -c .)" = "{\"unmounted\":\"$set\"}" ] || fail "unmount --json of a label"
"$UMBRA" mount "$two" at >/dev/null
[ "$("$UMBRA" unmount --json "${two:0:8}" | jq -c .)" = "{\"unmounted\":\"$two\"}" ] || fail "unmount --json of a prefix"
"$UMBRA" mount "$two" at >/dev/null
[ "$("$UMBRA" unmount --json at | jq -c .)" = '{"unmounted":"at"}' ] || fail "unmount --json of a directory"
expect_status 1 "$UMBRA" unmount --json nowhere
[ -z "$(jq -c . "$WORK/output" 2>/dev/null)" ] || fail "unmounted nothing, and said: $(cat "$WORK/output")"
deleted=$("$UMBRA" delete --json nowhere "${two:0:8}" 2>"$WORK/messages") && fail "deleted what is not there"
[ "$(jq -c . <<<"$deleted")" = "{\"deleted\":[\"$two\"]}" ] || fail "delete --json: $deleted"
grep -q "deleting 'nowhere'" "$WORK/messages" || fail "not said: $(cat "$WORK/messages")"
[ "$("$UMBRA" list sets --json | jq '.sets | length')" = 0 ] || fail "the set is still listed"

# The other two ways to say which: the same words of what is gone.
one=$("$UMBRA" --quiet --json create --provider null --no-writers "$WORK/one" | jq -r .set.id)
two=$("$UMBRA" --quiet --json create --provider null --no-writers "$WORK/one" | jq -r .set.id)
[ "$("$UMBRA" delete --json --oldest "$WORK/one" | jq -c .)" = "{\"deleted\":[\"$one\"]}" ] || fail "delete --oldest --json"
[ "$("$UMBRA" delete --json --all | jq -c .)" = "{\"deleted\":[\"$two\"]}" ] || fail "delete --all --json"
[ "$("$UMBRA" delete --json --all | jq -c .)" = '{"deleted":[]}' ] || fail "delete --all --json of nothing"
