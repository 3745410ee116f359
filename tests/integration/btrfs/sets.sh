#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets with btrfs volumes by the command line: shown with nested subvolumes, under the same paths in `run`, one
# instant together with a held volume, told as not one instant where two btrfs volumes are in a set, and nothing left.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.btrfs btrfs mkfs.ext4

make_volume v btrfs 256M 2>/dev/null
make_volume w btrfs 128M 2>/dev/null
make_volume e ext4 32M
btrfs subvolume create "$WORK/v/nested" >/dev/null
for f in v/file v/nested/file w/file e/file; do echo before >"$WORK/$f"; done
quiet_list() { find "$WORK/v" "$WORK/w" "$WORK/e" | sort; }
quiet_list >"$WORK/list-before"

create() { "$UMBRA" --json create "$@" >"$WORK/set" 2>"$WORK/messages" || fail "create $*: $(cat "$WORK/messages")"; }
get() { jq -r "$1" "$WORK/set"; }

create "$WORK/v/nested/file"
[ "$(get '.set.shadows[0].provider')" = btrfs ] || fail "provider $(get '.set.shadows[0].provider')"
[ "$(get '.set.hold_ms == 0')" = true ] || fail "held for $(get .set.hold_ms) ms"
[ "$(get '.set.instant')" = set ] || fail "instant $(get .set.instant)"
echo after >"$WORK/v/file"
echo after >"$WORK/v/nested/file"
directory=$("$UMBRA" mount "$(get '.set.shadows[0].id')")
[ "$(cat "$directory/file" "$directory/nested/file")" = $'before\nbefore' ] || fail "shown: $(cat "$directory/file" "$directory/nested/file")"
touch "$directory/nested/new" 2>/dev/null && fail "it can be written"
(cd "$directory" && "$UMBRA" delete "$(get .set.id)" 2>"$WORK/messages") && fail "deleted while somebody is in it"
"$UMBRA" unmount "$directory"
"$UMBRA" delete "$(get .set.id)" || fail "delete"

# A former program sees the instant under the same paths, and writes elsewhere.
(cd "$WORK/v" && "$UMBRA" run -- bash -c 'cat file nested/file >'"$WORK/seen"'; touch nested/new' 2>/dev/null) &&
  fail "the program could write into the shadow copy"
[ "$(cat "$WORK/seen")" = $'after\nafter' ] || fail "seen: $(cat "$WORK/seen")"

# One btrfs may share the instant of held volumes; of two, each has its own, and that is told.
create "$WORK/v" "$WORK/e"
[ "$(get .set.instant)" = set ] || fail "btrfs and ext4: $(get .set.instant)"
"$UMBRA" delete "$(get .set.id)"
create "$WORK/v" "$WORK/w" "$WORK/e"
[ "$(get .set.instant)" = per-volume ] || fail "two btrfs volumes: $(get .set.instant)"
"$UMBRA" delete "$(get .set.id)"
"$UMBRA" create --require instant "$WORK/v" "$WORK/w" >/dev/null 2>"$WORK/messages" && fail "--require instant with two btrfs volumes"

# Who owns the volume's root directory cannot have something else shown instead.
create "$WORK/w"
id=$(get '.set.shadows[0].id')
mkdir -p "$WORK/secret/$id/0/tree"
mv "$WORK/w/.umbra" "$WORK/w/moved"
ln -s "$WORK/secret" "$WORK/w/.umbra"
"$UMBRA" mount "$id" >"$WORK/messages" 2>&1 && fail "followed a symlink: $(cat "$WORK/messages")"
rm "$WORK/w/.umbra"
mv "$WORK/w/moved" "$WORK/w/.umbra"
"$UMBRA" delete "$(get .set.id)"

# Writable and persistent.
create --read-write --persistent --label mine "$WORK/w"
directory=$("$UMBRA" mount mine)
echo repaired >"$directory/file" || fail "a writable shadow copy is not"
[ "$(cat "$WORK/w/file")" = before ] || fail "the live volume was written"
"$UMBRA" unmount "$directory"
"$UMBRA" delete mine

# The umbra that owned a set is killed: the next command removes its snapshots.
mkfifo "$WORK/go"
"$UMBRA" run --of "$WORK/v" -- bash -c "echo \$\$ >$WORK/inside; read -r _ <$WORK/go" &
owner=$!
for _ in $(seq 200); do [ -s "$WORK/inside" ] && break; sleep 0.05; done
[ -d "$WORK/v/.umbra" ] || fail "no snapshot while the program runs"
kill -KILL "$owner"
wait "$owner" 2>/dev/null || true
kill "$(cat "$WORK/inside")" 2>/dev/null || true
for _ in $(seq 100); do
  "$UMBRA" recover >/dev/null 2>"$WORK/messages" || true
  [ -e "$WORK/v/.umbra" ] || break
  sleep 0.1
done
[ ! -e "$WORK/v/.umbra" ] || fail "left after a kill: $(btrfs subvolume list "$WORK/v"; cat "$WORK/messages")"

quiet_list | diff "$WORK/list-before" - || fail "something was left"
[ "$(btrfs subvolume list "$WORK/v" | wc -l)" = 1 ] || fail "$(btrfs subvolume list "$WORK/v")"

# Snapshots lie where their subvolume does: storage that was named for them is told to be of no use.
make_volume told btrfs 128M 2>/dev/null
expect_status 0 "$UMBRA" create --no-writers --provider btrfs --storage "$WORK/nowhere" "$WORK/told"
expect_output "volume '$WORK/told': --storage is not for provider btrfs: its shadow copies lie on the filesystem itself"
[ ! -e "$WORK/nowhere" ] || fail "a directory was made for nothing"
expect_status 0 "$UMBRA" create --no-writers --provider btrfs "$WORK/told"
! grep -q storage "$WORK/output" || fail "a warning without a cause: $(cat "$WORK/output")"
"$UMBRA" --quiet delete --all
