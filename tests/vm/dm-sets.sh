#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes, in a virtual machine with Linux 6.12, sets of two volumes that are device-mapper devices, at one instant under load; each goes
# its own way. Diff, revert; persistent shadow copies: with one it never goes directly, without one what changes unseen is no fault.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 mkfs.xfs dmsetup python3 e2fsck xfs_repair
in_vm --timeout 580 --disk 96M --disk 320M
. "$TOP/tests/lib/dm-switch.sh"
ROUNDS=${ROUNDS:-4}
trace() { echo "$SECONDS s: $*"; }

# Two in one set, at one instant; one of several shadow copies that goes changes nothing of the way.
trace "two volumes"
mapped_volume a ext4 /dev/vda
mapped_volume b xfs /dev/vdb
order_start "$WORK/a" "$WORK/b"
for ((i = 1; i <= ROUNDS; i++)); do
  order_advance 30
  prove_set a b
  trace "set $i: one instant at operation $K, held $(jq .hold_ms <<<"$SET") ms"
done
order_stop
one=$("$UMBRA" --json create --no-writers "$WORK/a" | jq -r '.set.shadows[0].id')
goes a engine
goes b direct
two=$("$UMBRA" --json create --no-writers "$WORK/a" | jq -r '.set.shadows[0].id')
echo new >"$WORK/a/new"
sync -f "$WORK/a"
[ "$("$UMBRA" diff "$one" | wc -l)" -gt 0 ] || fail "diff against now sees no write"
"$UMBRA" --quiet delete "$one"
sleep 0.5
is_way a engine || fail "writes pass a shadow copy that is live"
umount "$WORK/a"
"$UMBRA" --quiet revert "$two"
mount /dev/umbra/a "$WORK/a"
[ ! -e "$WORK/a/new" ] || fail "reverted, but not what it was"
expect_status 1 "$UMBRA" detach a
expect_output "has 1 shadow copies, which go with it"
"$UMBRA" --quiet delete "$two"
goes a direct
plain_again a /dev/vda
plain_again b /dev/vdb
nothing_mapped
rmdir "$WORK/a" "$WORK/b"

# Persistent: through the engine from the attach on; without any left it goes directly, and what is then changed unseen is no fault.
trace "persistent"
mapped_volume a ext4 /dev/vda --persistent
goes a direct
kept=$("$UMBRA" --json create --persistent --no-writers "$WORK/a" | jq -r '.set.shadows[0].id')
umount "$WORK/a"
"$UMBRA" detach a
"$UMBRA" attach --dm auto --front "$FRONT" --storage "$WORK" --persistent /dev/vda a >"$WORK/attach.out" 2>"$WORK/warned"
[ ! -s "$WORK/warned" ] || fail "$(cat "$WORK/warned")"
goes a engine
mount /dev/umbra/a "$WORK/a"
echo more >"$WORK/a/more"
sync -f "$WORK/a"
tree=$("$UMBRA" mount "$kept") && [ ! -e "$tree/more" ] && "$UMBRA" unmount "$tree" || fail "the kept shadow copy has changed"
is_way a engine || fail "writes pass a persistent shadow copy"
"$UMBRA" --quiet delete "$kept"
goes a direct
umount "$WORK/a"
mount /dev/umbra/a "$WORK/a" # its superblock is written, unseen
kept=$("$UMBRA" --json create --persistent --no-writers "$WORK/a" | jq -r '.set.shadows[0].id')
umount "$WORK/a"
"$UMBRA" detach a
"$UMBRA" attach --dm auto --front "$FRONT" --storage "$WORK" --persistent /dev/vda a >"$WORK/attach.out" 2>"$WORK/warned"
[ ! -s "$WORK/warned" ] || fail "$(cat "$WORK/warned")"
"$UMBRA" --json show "$kept" | jq -e '.shadow.state == "ready"' >/dev/null || fail "a persistent shadow copy was dropped: $("$UMBRA" --json show "$kept")"
"$UMBRA" --quiet delete "$kept"
"$UMBRA" detach a
nothing_mapped
trace "done"
