#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches a volume with the ublk front, in a virtual machine with Linux 6.12: what the device is like, its life as with the other
# front, discards; both programs killed, and what waits goes on; detach gives the plain device back.
# timeout: 900
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/attached.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program fio jq python3 mkfs.ext4 e2fsck fstrim capsh
in_vm --timeout 880 --disk 120M --disk 600M --disk 120M
. "$(dirname "$0")/../lib/ublk.sh"

# ---- what is chosen, and said of it
attach >"$WORK/attach.out"
[ "$(cat "$WORK/attach.out")" = "$V" ] || fail "attach printed $(cat "$WORK/attach.out")"
[ "$(field front)" = ublk ] || fail "the front is $(field front): $(field front_why)"
device=$(readlink -f "$V")
[[ $device == /dev/ublkb* ]] || fail "the device is $device"
queue=/sys/block/${device#/dev/}/queue below=/sys/block/vda/queue
for what in logical_block_size physical_block_size rotational; do
  [ "$(cat "$queue/$what")" = "$(cat "$below/$what")" ] || fail "$what is $(cat "$queue/$what"), and not $(cat "$below/$what")"
done
[ "$(cat "$queue/write_cache"),$(cat "$queue/fua")" = "write back,1" ] || fail "$(cat "$queue/write_cache"), FUA $(cat "$queue/fua")"
[ "$(blockdev --getsize64 "$V")" = "$(blockdev --getsize64 "$ORIGIN")" ] || fail "the sizes differ"
[ "$(find "/sys/block/${device#/dev/}/mq" -mindepth 1 -maxdepth 1 | wc -l)" = "$(nproc)" ] || fail "not a queue a processor"
expect_status 1 "$UMBRA" attach "$ORIGIN" again
expect_output "is in use"
limited() {
  local has
  has=$(capsh --decode="$(awk '$1 == "CapBnd:" { print $2 }' "/proc/$1/status")")
  [ "${has#*=}" = "cap_dac_override,cap_ipc_lock,cap_sys_admin,cap_sys_resource" ] || fail "a program of the volume has $has"
}
limited "$(field pid)"
limited "$(field supervisor_pid)"

# ---- its life, as with the other front
mkfs.ext4 -q -F "$V"
mount "$V" "$WORK/v"
"$UMBRA" doctor "$WORK/v" >"$WORK/doctor"
grep -q "front ublk" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
grep -q "front: *ublk: the best there is" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
cp -a "$TOP"/{common,docs} "$WORK/v/"
tree_of "$WORK/v" >"$WORK/then.1"
one=$(create)
[ -n "$one" ] || fail "another provider was chosen"
rm -rf "$WORK/v/common"
dd if=/dev/urandom of="$WORK/v/big" bs=1M count=20 status=none
sync -f "$WORK/v"
tree=$("$UMBRA" mount "$one")
diff "$WORK/then.1" <(tree_of "$tree") || fail "the shadow copy is not what the volume was"
"$UMBRA" unmount "$tree"
"$UMBRA" diff "$one" | grep -q . || fail "nothing changed"
first=$(sum "$one")

# ---- discard: zeros here, the old data there
rm "$WORK/v/big"
fstrim "$WORK/v"
fallocate -l 8M "$WORK/v/hole"
dd if=/dev/urandom of="$WORK/v/hole" bs=1M count=8 conv=notrunc,fsync status=none
two=$(create)
second=$(sum "$two")
fallocate --zero-range -o 1M -l 4M "$WORK/v/hole"
sync -f "$WORK/v"
cmp -n 4194304 -i 1048576:0 "$WORK/v/hole" /dev/zero || fail "a zeroed range is not zero"
[ "$(sum "$one"),$(sum "$two")" = "$first,$second" ] || fail "discard or zeroing changed a shadow copy"

# ---- both die: what is mounted waits, and goes on when the volume is attached again; not over another origin
load waits --filename="$WORK/v/file2" --size=20M --iodepth=8
sleep 2
supervisor=$(field supervisor_pid) server=$(field pid)
kill -STOP "$server"
kill -KILL "$supervisor" "$server"
wait_for 10 ended "$supervisor"; wait_for 10 ended "$server"
"$UMBRA" doctor "$WORK/v" | grep -q "both its programs are gone" || fail "$("$UMBRA" doctor "$WORK/v")"
expect_status 1 "$UMBRA" attach --storage /dev/vdb --front ublk /dev/vdc "$NAME"
expect_output "$device' is still there, from when '$NAME' was attached over another device"
expect_status 1 "$UMBRA" attach --storage /dev/vdb --front fuse "$ORIGIN" "$NAME"
expect_output "$device' is still there"
kill -0 "$LOAD" 2>/dev/null || { cat "$WORK/waits.out" >&2; fail "what waits got an error"; }
attach >/dev/null
[ "$(readlink -f "$V")" = "$device" ] || fail "it is another device now"
sleep 2
three=$(create)
third=$(sum "$three")
load_ends waits
[ "$(sum "$three")" = "$third" ] || fail "the shadow copy of afterwards changed"
"$UMBRA" --json show "$one" | jq -e '.shadow.state == "lost"' >/dev/null || fail "$("$UMBRA" show "$one")"
"$UMBRA" --quiet delete --all

# ---- detach
expect_status 1 "$UMBRA" detach "$NAME"
expect_output "is in use: unmount it first"
umount "$WORK/v"
e2fsck -fn "$V" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the volume is damaged"; }
# Written to the device itself, not flushed.
dd if=/dev/urandom of="$WORK/last" bs=4096 count=100 status=none
dd if="$WORK/last" of="$V" bs=4096 seek=20000 status=none
sha256sum <"$V" >"$WORK/sum"
"$UMBRA" detach "$NAME"
blockdev --flushbufs "$ORIGIN"
sha256sum <"$ORIGIN" | cmp - "$WORK/sum" || fail "the plain device is not what the volume was"
nothing_left

# ---- the other front can be asked for
attach --front fuse >/dev/null
[ "$(field front),$(field front_why)" = "fuse,asked for" ] || fail "$(field front): $(field front_why)"
[[ $(readlink -f "$V") == /dev/loop* ]] || fail "the device is $(readlink -f "$V")"
"$UMBRA" detach "$NAME"
nothing_left
