#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test lets a writer repair its files in the shadow copy at post-snapshot, with each provider that can: what it wrote and deleted is in the
# shadow copy, which is read-only afterwards, and nowhere else. --no-repair, a persistent shadow copy of an attached volume: none is offered.
# A process left in it fails the set by name; a coordinator that is killed leaves no mount behind.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
. "$(dirname "$0")/../../lib/writers.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.xfs mkfs.btrfs

# The writer: repairs where it is offered, notes what it was offered.
# shellcheck disable=SC2016
make_writer db back-end '"repairs": true' '
[ "$1" = post-snapshot ] || { [ "$1" = identify ] || cat >/dev/null; exit 0; }
cat >"$WORK/document"
jq -r ".set.shadows[] | [.mount, .writable] | @tsv" "$WORK/document" >"$WORK/offered"
for at in $(jq -r ".set.shadows[].mount // empty" "$WORK/document"); do
  [ "$(cat "$at/table")" = torn ] || { echo "table is $(cat "$at/table")" >&2; exit 1; }
  echo repaired >"$at/table" && rm "$at/cache" || exit 1
  # Opened here, not by the process that stays: the shadow copy may be closed before that one has begun.
  if [ -e "$WORK/stay" ]; then exec 9>>"$at/table"; setsid sleep 100 </dev/null >/dev/null 2>&1 & echo $! >"$WORK/stayed"; fi
done
if [ -e "$WORK/hang" ]; then touch "$WORK/hanging"; while [ -e "$WORK/hang" ]; do sleep 0.1; done; fi'
export WORK
shown() {
  local dir text
  dir=$("$UMBRA" mount "$1")
  text="$(cat "$dir/table") $([ -e "$dir/cache" ] && echo cached || echo clean)"
  ! touch "$dir/x" 2>/dev/null || fail "it is still writable"
  "$UMBRA" --quiet unmount "$1"
  echo "$text"
}
nothing_left() {
  ! grep -q "$UMBRA_RUNTIME_DIR/repair" /proc/mounts || fail "left: $(grep "$UMBRA_RUNTIME_DIR/repair" /proc/mounts)"
  [ -z "$(ls -A "$UMBRA_RUNTIME_DIR/repair" 2>/dev/null)" ] || fail "left in $UMBRA_RUNTIME_DIR/repair: $(ls "$UMBRA_RUNTIME_DIR/repair")"
}
make() { "$UMBRA" --json create "$@" >"$WORK/set.json" 2>"$WORK/messages" || fail "create $*: $(cat "$WORK/messages")"; jq -r '.set.shadows[0].id' "$WORK/set.json"; }
fill() { echo torn >"$1/table"; echo junk >"$1/cache"; sync -f "$1"; }

declare -A name
attached_volume a ext4 300M
name[$WORK/a]=$ATTACHED
fill "$WORK/a"
attached_volume x xfs 400M
name[$WORK/x]=$ATTACHED
fill "$WORK/x"
make_volume plain ext4 64M
fill "$WORK/plain"
make_volume tree btrfs 256M 2>/dev/null
btrfs subvolume create "$WORK/tree/nested" >/dev/null
fill "$WORK/tree"

for case in cow:a cow:x clone:plain files:plain btrfs:tree; do
  provider=${case%:*} v=$WORK/${case#*:}
  before=$(make --no-writers --provider "$provider" "$v")
  id=$(make --provider "$provider" "$v")
  [ "$(jq -r .set.consistency "$WORK/set.json")" = application ] || fail "$case: $(cat "$WORK/set.json" "$WORK/messages")"
  grep -q "$UMBRA_RUNTIME_DIR/repair/$id.true" "$WORK/offered" || fail "$case: offered $(cat "$WORK/offered")"
  [ "$(jq -r '.set.shadows[0] | [.mount, .writable] | @csv' "$WORK/set.json")" = ,false ] || fail "$case: $(jq .set.shadows "$WORK/set.json")"
  nothing_left
  [ "$(shown "$id")" = "repaired clean" ] || fail "$case: it shows $(shown "$id")"
  [ "$(shown "$before")" = "torn cached" ] || fail "$case: the older one shows $(shown "$before")"
  [ "$(cat "$v/table")" = torn ] && [ -e "$v/cache" ] || fail "$case: the volume was changed"
  device=$(jq -r '.set.shadows[0].device // empty' "$WORK/set.json")
  [ -z "$device" ] || [ "$(blockdev --getro "$device")" = 1 ] || fail "$case: $device is writable"
  # The image itself, too, where umbra serves it.
  if [ "$provider" = cow ]; then
    ! dd if=/dev/zero of="$UMBRA_RUNTIME_DIR/attached/${name[$v]}/mnt/shadow-$id" bs=4k count=1 conv=notrunc 2>"$WORK/dd" || fail "it was written"
    grep -q 'Read-only file system' "$WORK/dd" || fail "$(cat "$WORK/dd")"
  fi
  # With --read-write it stays so, repaired or not.
  id=$(make --read-write --provider "$provider" "$v")
  dir=$("$UMBRA" mount "$id")
  [ "$(cat "$dir/table")" = repaired ] && touch "$dir/mine" || fail "$case: --read-write: $(cat "$dir/table")"
  "$UMBRA" --quiet unmount "$id"
  "$UMBRA" --quiet delete --all
done

# ---- none is offered
id=$(make --no-repair --provider cow "$WORK/a")
[ "$(cat "$WORK/offered")" = $'\tfalse' ] || fail "--no-repair: offered $(cat "$WORK/offered")"
[ "$(shown "$id")" = "torn cached" ] || fail "--no-repair: it shows $(shown "$id")"
"$UMBRA" --quiet delete --all
attached_volume kept ext4 200M --persistent
fill "$WORK/kept"
id=$(make --persistent --provider cow "$WORK/kept")
[ "$(cat "$WORK/offered")" = $'\tfalse' ] || fail "--persistent: offered $(cat "$WORK/offered")"
[ "$(shown "$id")" = "torn cached" ] || fail "--persistent: it shows $(shown "$id")"
"$UMBRA" --quiet delete --all

# ---- what a writer leaves running in it is the culprit
touch "$WORK/stay"
expect_status 1 "$UMBRA" create --provider cow "$WORK/a"
expect_output "volume '$WORK/a': closing the shadow copy that writers repaired: .*in use|volume '$WORK/a': closing the shadow copy that writers repaired: .*open for writing"
kill "$(cat "$WORK/stayed")" 2>/dev/null || true
rm "$WORK/stay"
"$UMBRA" --quiet recover
nothing_left
no_sets_left

# ---- killed in the middle: the next command cleans up
touch "$WORK/hang"
"$UMBRA" create --provider cow "$WORK/a" >"$WORK/killed" 2>&1 &
pid=$!
wait_for 60 test -e "$WORK/hanging" || fail "post-snapshot did not come: $(cat "$WORK/killed")"
grep -q "$UMBRA_RUNTIME_DIR/repair" /proc/mounts || fail "nothing is mounted for the writer"
guardian=$(jq -r .guardian "$UMBRA_RUNTIME_DIR"/sets/*.json)
kill -9 "$guardian" "$pid"
wait "$pid" 2>/dev/null || true
rm "$WORK/hang"
"$UMBRA" --quiet recover
nothing_left
no_sets_left
id=$(make --provider cow "$WORK/a")
[ "$(shown "$id")" = "repaired clean" ] || fail "after all that it shows $(shown "$id")"
"$UMBRA" --quiet delete --all
