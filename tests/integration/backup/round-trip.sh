#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test saves a tree with every kind of file, attribute, name and layout on ext4, XFS and btrfs, and expects a restore to
# be equal to it, in a fresh root and over what is there, and verify and ls to agree.
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 setfattr setfacl setcap jq mkfs.ext4 mkfs.xfs mkfs.btrfs

for type in ext4 xfs btrfs; do
  make_volume "$type" "$type" 320M
  tree=$WORK/$type/tree
  make_everything "$tree"
  if [ "$type" != ext4 ]; then
    # More than ext4's limit of 16 TiB is no matter here: 2 TiB of nothing with something in the middle.
    truncate -s 2T "$tree/2t"
    printf mid | dd of="$tree/2t" bs=1 seek=1000000000000 conv=notrunc status=none
  fi
  rm -rf "$WORK/target"
  name=$(live full "$tree")
  rm -rf "$WORK/$type/out"
  "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/$type/out" >"$WORK/said" || fail "$type: restore failed"
  same_trees "$tree" "$WORK/$type/out$tree"
  # Once more over the result, some of it changed: what is there is replaced.
  echo changed >"$WORK/$type/out$tree/big"
  rm "$WORK/$type/out$tree/fifo"
  chmod 0700 "$WORK/$type/out$tree/empty"
  "$UMBRA" --quiet restore "$WORK/target@$name" --to "$WORK/$type/out" >"$WORK/said" || fail "$type: restore over it failed"
  same_trees "$tree" "$WORK/$type/out$tree"
  "$UMBRA" --quiet verify "$WORK/target" >"$WORK/said" || fail "$type: verify failed"
  grep -q "$name: sound" "$WORK/said" || fail "verify does not say that $name is sound"
  listed=$("$UMBRA" --json ls "$WORK/target@latest" | wc -l)
  [ "$listed" = "$(find "$tree" -printf x | wc -c)" ] || fail "ls lists $listed files"
  [ "$("$UMBRA" --json ls "$WORK/target" | jq -r '.backups[0] | .name + " " + .state + " " + .type')" = "$name whole full" ] ||
    fail "ls does not list the backup"
done
[ -z "$(find "$WORK" -name '.umbra-*' -print -quit)" ] || fail "a temporary file was left"
