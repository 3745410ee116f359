#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches ext4 and XFS volumes, and does all that can be done with them: shadow copies at once, several at a time, equal to what
# the volume was; chosen before clone; diff, revert, run, backup; detach gives the device back with every byte; nothing is left.
# timeout: 600
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

create() { "$UMBRA" --json create --no-writers "$@" | jq -r '.set.shadows[0] | select(.provider == "cow").id'; }
mkdir "$WORK/empty"
cleanup_fn umount "$WORK/empty"
tree_of() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }

for type in ext4 xfs; do
  attached_volume v "$type" 500M --limit 300000000
  cp -a "$TOP"/{common,coordinator,docs} "$WORK/v/"
  tree_of "$WORK/v" >"$WORK/then.1"
  one=$(create "$WORK/v")
  [ -n "$one" ] || fail "another provider was chosen"
  rm -rf "$WORK/v/common"
  dd if=/dev/urandom of="$WORK/v/big" bs=1M count=30 status=none
  tree_of "$WORK/v" >"$WORK/then.2"
  two=$(create "$WORK/v")
  cp -a "$TOP/providers" "$WORK/v/"
  echo more >>"$WORK/v/big"
  sync -f "$WORK/v"
  for n in 1 2; do
    tree=$("$UMBRA" mount "$([ $n = 1 ] && echo "$one" || echo "$two")")
    diff "$WORK/then.$n" <(tree_of "$tree") || fail "$type: shadow copy $n is not what the volume was"
    "$UMBRA" unmount "$tree"
  done

  # What changed between the two is what a comparison of every chunk finds, or more: written with the same content.
  base=$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt
  "$UMBRA" diff "$one" "$two" >"$WORK/diff"
  python3 - "$base/shadow-$one" "$base/shadow-$two" "$WORK/diff" <<'END' || fail "diff is not right"
import sys
one, two = (open(p, "rb") for p in sys.argv[1:3])
said, size = set(), 0
for line in open(sys.argv[3]):
    offset, length = map(int, line.split())
    said.update(range(offset // 16384, (offset + length + 16383) // 16384))
changed, chunk = set(), 0
while True:
    a, b = one.read(16384), two.read(16384)
    if not a: break
    if a != b: changed.add(chunk)
    chunk += 1
assert changed and changed <= said, len(changed - said)
assert len(said) < chunk / 2, "nearly everything is said to have changed"
END
  expect_status 1 "$UMBRA" diff "$two" "$one"
  expect_output 'is not older than'

  # Former programs and backups as on any volume.
  "$UMBRA" run --of "$WORK/v" -- tar -cf "$WORK/archive.tar" -C "$WORK/v" big
  tar -xOf "$WORK/archive.tar" big | cmp - "$WORK/v/big"
  "$UMBRA" --quiet backup "$WORK/v/docs" --to "$WORK/target.$type" >/dev/null
  "$UMBRA" --quiet verify "$WORK/target.$type"

  # Back to the first: not while it is mounted; the second shadow copy stays what it was.
  expect_status 1 "$UMBRA" revert "$one"
  expect_output 'is in use: unmount it first'
  unmount_alone "$WORK/v"
  "$UMBRA" --quiet revert "$one"
  mount "/dev/umbra/$ATTACHED" "$WORK/v"
  diff "$WORK/then.1" <(tree_of "$WORK/v") || fail "$type: revert did not bring the volume back"
  tree=$("$UMBRA" mount "$two")
  diff "$WORK/then.2" <(tree_of "$tree") || fail "$type: revert changed another shadow copy"
  expect_status 1 "$UMBRA" detach "$ATTACHED"
  expect_output "has [0-9]+ shadow copies, which go with it"
  "$UMBRA" unmount "$tree"
  "$UMBRA" --quiet delete --all

  # Detaching: not while mounted; then the origin is the volume, byte for byte.
  expect_status 1 "$UMBRA" detach "$ATTACHED"
  expect_output "is in use: unmount it first"
  unmount_alone "$WORK/v"
  sha256sum <"/dev/umbra/$ATTACHED" >"$WORK/sum"
  "$UMBRA" detach "$ATTACHED"
  sha256sum <"$ORIGIN" | cmp - "$WORK/sum"
  mount "$ORIGIN" "$WORK/v"
  diff "$WORK/then.1" <(tree_of "$WORK/v") || fail "the plain device is not the volume"
  expect_status 1 "$UMBRA" attach "$ORIGIN" "$ATTACHED"
  expect_output "is in use: unmount it first, then mount /dev/umbra/$ATTACHED in its place; for good: a line in umbratab\(5\), and in fstab"
  unmount_alone "$WORK/v"
  no_attached_left
  rmdir "$WORK/v"
done
expect_status 1 "$UMBRA" detach "$ATTACHED"
expect_output "no volume is attached as '$ATTACHED'"

# Detached by force, the sets of its shadow copies go, too, and the devices that show them.
"$UMBRA" attach "$ORIGIN" "$ATTACHED" >/dev/null
mount "/dev/umbra/$ATTACHED" "$WORK/empty"
one=$(create "$WORK/empty")
expect_status 1 "$UMBRA" detach --force "$ATTACHED"
"$UMBRA" --json list shadows | jq -e '.shadows | length == 1' >/dev/null || fail "a detach that was refused took a shadow copy"
unmount_alone "$WORK/empty"
"$UMBRA" detach --force "$ATTACHED"
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set is listed whose shadow copy is gone"
! losetup -nlO BACK-FILE | grep -q "shadow-$one" || fail "a device over a shadow copy that is gone"
no_attached_left
expect_status 1 "$UMBRA" attach "$ORIGIN" ../x
expect_status 1 "$UMBRA" attach /dev/null x
expect_status 1 "$UMBRA" attach --chunk 5000 "$ORIGIN" x
expect_output "'chunk' cannot be '5000'"
no_attached_left
