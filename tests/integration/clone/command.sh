#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes clones by the command line: made, shown, mounted and removed, of a volume under load; with storage of its own and on the
# volume; the numbers it tells; and killed in mid-copy, after which the next command leaves nothing.
# timeout: 120
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/clone.sh"
requires_program mkfs.ext4

make_volume v ext4 300M
mkdir "$WORK/v/kept" "$WORK/storage"
for i in 1 2 3; do head -c 3000000 /dev/urandom >"$WORK/v/kept/$i"; done
(cd "$WORK/v/kept" && sha256sum ./*) >"$WORK/sums"
busy_writers "$WORK/v" 100
cleanup_fn "$UMBRA" --quiet delete --all

"$UMBRA" --quiet --json create --no-writers --provider clone "$WORK/v" >"$WORK/set" || fail "create"
id=$(jq -r '.set.shadows[0].id' "$WORK/set")
[ "$(jq -r '.set.shadows[0].provider' "$WORK/set")" = clone ] || fail "made by another provider"
[ "$(jq -r '.set.instant' "$WORK/set")" = set ] || fail "no instant"
[ "$(jq '.set.shadows[0].storage_bytes > 9000000 and .set.hold_ms > 0' "$WORK/set")" = true ] || fail "figures: $(cat "$WORK/set")"
echo changed >"$WORK/v/kept/1"; rm "$WORK/v/kept/2"
directory=$("$UMBRA" --quiet mount "$id") || fail "mount"
(cd "$directory/kept" && sha256sum --quiet -c "$WORK/sums") || fail "the shadow copy is not what the volume was"
touch "$directory/kept/x" 2>/dev/null && fail "the shadow copy can be written"
"$UMBRA" --quiet unmount "$id" || fail "unmount"
"$UMBRA" --quiet delete "$id" || fail "delete"

# Killed while it copies: the journal knows the image, the kernel forgets the tracking.
"$UMBRA" --quiet create --no-writers --provider clone --storage "$WORK/storage" "$WORK/v" >/dev/null 2>&1 &
pid=$!
image_begun() { [ -n "$(ls -A "$WORK/storage")" ]; }
wait_for 20 image_begun || fail "no image appeared"
kill -KILL "$pid"; wait "$pid" 2>/dev/null || true
"$UMBRA" --quiet recover || fail "recover"
[ -z "$(ls -A "$WORK/storage" | sed '/^kept-/d')" ] || fail "left: $(ls "$WORK/storage")"
accepts_write "$WORK/v" 5 || fail "the volume is frozen"
rm -rf "$WORK/storage"
"$UMBRA" --quiet create --no-writers --provider clone "$WORK/v" >/dev/null || fail "create after that"
"$UMBRA" --quiet delete --all || fail "delete --all"
nothing_pinned
