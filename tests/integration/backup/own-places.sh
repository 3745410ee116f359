#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs whole volumes up on which umbra keeps shadow copies of its own: of these there is nothing in the backup, neither images and
# trees in the storage nor the directories of btrfs snapshots, and what the user has beside them is all there.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq
cleanup_fn "$UMBRA" delete --all

make_volume disk ext4 256M
make_volume tree btrfs 160M
mkdir "$WORK/disk/data" "$WORK/tree/data" "$WORK/disk/.umbra" # this one is the user's: the volume is no btrfs
btrfs subvolume create "$WORK/tree/data/nested" >/dev/null
for file in disk/data/file disk/.umbra/mine tree/data/nested/file tree/file; do echo $file >"$WORK/$file"; done

# The state directory lies on the disk, and has images and trees of other sets in it.
export UMBRA_STATE_DIR=$WORK/disk/state
for provider in clone files; do
  "$UMBRA" create --quiet --provider $provider --no-writers "$WORK/disk" >/dev/null
done
"$UMBRA" create --quiet --no-writers "$WORK/tree" >/dev/null
[ -n "$(ls "$UMBRA_STATE_DIR/storage")" ] || fail "there is nothing in the storage"
[ -n "$(ls "$WORK/tree/.umbra")" ] || fail "there are no snapshots"

for provider in clone files; do
  "$UMBRA" backup --quiet --provider $provider --no-writers "$WORK/disk" --to "$WORK/backup-$provider" >/dev/null
done
"$UMBRA" backup --quiet --no-writers "$WORK/tree" --to "$WORK/backup-btrfs" >/dev/null
names() { "$UMBRA" ls --json "$WORK/backup-$1@latest" | jq -r .path | sort; }
wanted() { find "$1" \( -path "$UMBRA_STATE_DIR/storage/*" -o -path "$WORK/tree/.umbra" \) -prune -o -print | sort; }
for provider in clone files; do
  diff <(names $provider) <(wanted "$WORK/disk") || fail "provider $provider: more or less than the user's files"
done
diff <(names btrfs) <(wanted "$WORK/tree") || fail "provider btrfs: more or less than the user's files"
