#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test shows shadow copies that are directory trees: with trees nested in them, over bind mounts of a part of a volume, on
# btrfs over one subvolume and not its sisters, and scoped ones over just some paths.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq btrfs

make_volume pool btrfs 256M
for s in home home/nested "home/nested/with space" sister; do btrfs -q subvolume create "$WORK/pool/$s" 2>/dev/null || btrfs subvolume create "$WORK/pool/$s" >/dev/null; echo old >"$WORK/pool/$s/file"; done
mkdir "$WORK/pool/home/dir" "$WORK/home" "$WORK/sister" "$WORK/dir" "$WORK/nested" "$WORK/pool/snapshots"
echo old >"$WORK/pool/home/dir/file"
mount -o subvol=home "$DEVICE" "$WORK/home"
mount -o subvol=sister "$DEVICE" "$WORK/sister"
mount --bind "$WORK/home/dir" "$WORK/dir"
mount --bind "$WORK/home/nested" "$WORK/nested"
cleanup_fn umount "$WORK/home" "$WORK/sister" "$WORK/dir" "$WORK/nested"
n=0
for s in home home/nested "home/nested/with space"; do
  btrfs subvolume snapshot -r "$WORK/pool/$s" "$WORK/pool/snapshots/$n" >/dev/null
  n=$((n + 1))
done
find "$WORK/pool" -name file -not -path '*/snapshots/*' -exec sh -c 'for f; do echo new >"$f"; done' - {} +

s=$WORK/pool/snapshots
# The nested ones are given out of order: they belong below each other.
plan "$(tree_plan "$WORK/home" "$s/0" "nested/with space" "$s/2" nested "$s/1")"
# expect_shown "FILE=WORD …": what the program reads there
expect_shown() {
  for pair in $1; do
    local path=${pair%=*}
    [ "$(view_run -- cat "$WORK/${path//+/ }")" = "${pair#*=}" ] || fail "$pair does not hold"
  done
}
expect_shown "home/file=old home/dir/file=old home/nested/file=old home/nested/with+space/file=old dir/file=old"
# A subvolume mounted by itself is a volume by itself; so is the whole of the filesystem.
expect_shown "sister/file=new pool/home/file=new nested/file=new"
view_run -- sh -c "! touch '$WORK/home/x' && ! touch '$WORK/home/nested/x' && touch '$WORK/sister/x'" 2>/dev/null || fail "read-only is not where it should be"

# The kernel's own numbers: a second run of a backup program that keeps inode numbers finds the same.
(cd "$WORK/home" && find . -xdev -exec stat -c '%n %i %Z' {} + | grep -v '^\./file\|^\./dir/file' | sort) >"$WORK/live"
view_run -- sh -c "cd '$WORK/home' && find . -xdev -exec stat -c '%n %i %Z' {} + | grep -v '^\./file\|^\./dir/file' | sort" >"$WORK/shown"
grep -v nested "$WORK/live" | diff - <(grep -v nested "$WORK/shown") || fail "inode numbers or times differ"

# A volume that is seen only through a bind mount of a part, and a scoped shadow copy of it.
make_volume ext ext4 64M
mkdir -p "$WORK/ext/part/a/inner" "$WORK/ext/part/b" "$WORK/part" "$WORK/a" "$WORK/store"
for f in part/a/file part/a/inner/file part/b/file; do echo old >"$WORK/ext/$f"; done
mount --bind "$WORK/ext/part" "$WORK/part"
mount --bind "$WORK/ext/part/a" "$WORK/a"
umount "$WORK/ext"
cleanup_fn umount "$WORK/part" "$WORK/a"
cp -a "$WORK/part/." "$WORK/store"
for f in a/file a/inner/file b/file; do echo new >"$WORK/part/$f"; done
plan "$(tree_plan "$WORK/part" "$WORK/store")"
expect_shown "part/a/file=old part/b/file=old a/file=old a/inner/file=old"
plan "$(tree_plan "$WORK/part" "$WORK/store" | jq --arg p "$WORK/part/a" '.paths = [$p]')"
expect_shown "part/a/file=old part/b/file=new a/file=old a/inner/file=old"
plan "$(tree_plan "$WORK/part" "$WORK/store" | jq --arg p "$WORK/part/a/inner" --arg q "$WORK/part/b/file" '.paths = [$p, $q]')"
expect_shown "part/a/file=new part/b/file=old part/a/inner/file=old a/file=new a/inner/file=old"

# Records are data from disk: none leads out of its tree.
ln -s / "$WORK/store/link"
for at in ../.. /etc/../.. link/etc missing a/file; do
  plan "$(tree_plan "$WORK/part" "$WORK/store" "$at" "$WORK/ext")"
  expect_status 125 view_run -- true
  expect_output "nested tree"
done
