#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets by the command line through executables in providers.d: chosen by name and by themselves, failing and hanging at
# each verb without leaving a frozen volume or a half-made set.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume v ext4 32M
make_volume w ext4 32M
SCRIPT=$UMBRA_CONFIG_DIR/script
mkdir "$UMBRA_CONFIG_DIR/providers.d" "$SCRIPT" "$SCRIPT/tree"
cp "$TOP/tests/lib/scripted-provider" "$UMBRA_CONFIG_DIR/providers.d/array"
echo copy >"$SCRIPT/tree/file"

writable() { timeout 5 touch "$WORK/v/x" "$WORK/w/x" || fail "a volume is still frozen"; }
script() { rm -f "$SCRIPT"/{early,can,prepare,precommit,commit,postcommit,remove}; [ $# = 0 ] || echo "$2" >"$SCRIPT/$1"; : >"$SCRIPT/log"; }

# Chosen by itself.
script
"$UMBRA" --json create "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(jq -r '.set.shadows[0].provider' "$WORK/set")" = exec ] || fail "$(cat "$WORK/set")"
directory=$("$UMBRA" mount "$(jq -r '.set.shadows[0].id' "$WORK/set")")
[ "$(cat "$directory/file")" = copy ] || fail "its view is not shown"
"$UMBRA" unmount "$directory"
"$UMBRA" delete "$(jq -r .set.id "$WORK/set")" || fail "delete"
[ "$(tail -n 1 "$SCRIPT/log")" = remove ] || fail "not told to remove: $(cat "$SCRIPT/log")"

# Not for this volume; by name it says why, by itself another is taken.
script can 'echo "{\"can\": false, \"why\": \"LUN 7 is not ours\"}"; exit 0'
"$UMBRA" create --provider array "$WORK/v" >/dev/null 2>"$WORK/messages" && fail "made all the same"
grep -q "LUN 7 is not ours" "$WORK/messages" || fail "$(cat "$WORK/messages")"
"$UMBRA" --json create "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(jq -r '.set.shadows[0].provider' "$WORK/set")" = clone ] || fail "$(cat "$WORK/set")"
"$UMBRA" delete --all >/dev/null
"$UMBRA" create --provider nobody "$WORK/v" >/dev/null 2>"$WORK/messages" && fail "a provider that is not there"
grep -q "no provider 'nobody'" "$WORK/messages" || fail "$(cat "$WORK/messages")"

# No partial commit: it fails on one of two volumes at each verb, and all is removed.
for verb in prepare precommit commit postcommit; do
  # shellcheck disable=SC2016
  script "$verb" 'case $document in *'"$WORK/w"'*) echo "controller B is gone" >&2; exit 3 ;; esac'
  "$UMBRA" create --provider array "$WORK/v" "$WORK/w" >/dev/null 2>"$WORK/messages" && fail "$verb failed, the set did not"
  grep -q "controller B is gone" "$WORK/messages" || fail "$verb: $(cat "$WORK/messages")"
  [ "$(grep -c '^remove$' "$SCRIPT/log")" = 2 ] || fail "$verb: removed $(grep -c '^remove$' "$SCRIPT/log") of 2: $(cat "$SCRIPT/log")"
  [ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "$verb left a set"
  writable
done

# It dies in commit, hangs in commit: the hold limit ends it.
script commit 'kill -KILL $$'
"$UMBRA" create --provider array "$WORK/v" >/dev/null 2>"$WORK/messages" && fail "a set without commit"
writable
script commit 'sleep 100'
before=$SECONDS
"$UMBRA" create --provider array "$WORK/v" >/dev/null 2>"$WORK/messages" && fail "a set whose commit hung"
[ $((SECONDS - before)) -le 25 ] || fail "the hold took $((SECONDS - before)) s"
writable
[ -z "$(ls -A "$UMBRA_RUNTIME_DIR/sets" 2>/dev/null)" ] || fail "left in the runtime directory: $(ls -A "$UMBRA_RUNTIME_DIR/sets")"
