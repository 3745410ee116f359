# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by tests/vm/dm-switch*.sh, in the guest: what attached volumes do as device-mapper devices. ROUNDS sets.
# shellcheck shell=bash
. "$TOP/tests/lib/dm-switch.sh"
ROUNDS=${ROUNDS:-20}
trace() { echo "$SECONDS s: $*"; }

# The devices below are in use as long as it is attached, whichever way its I/O goes.
mapped_volume a ext4 /dev/vda
goes a direct
expect_status 1 "$UMBRA" attach --dm no /dev/vda other
expect_output "is in use: unmount it first, then mount /dev/umbra/other"
front=$(attached_status a front_device)
for below in /dev/vda "$front"; do
  if python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)' "$below" 2>/dev/null; then fail "$below can be taken"; fi
done
"$UMBRA" doctor "$WORK/a" >"$WORK/doctor"
grep -qE "attached as a \\(origin /dev/vda, front [a-z]+, written to directly\\), shadow copies 0" "$WORK/doctor" || fail "$(cat "$WORK/doctor")"
expect_status 1 "$UMBRA" detach a
expect_output "is in use: unmount it first"
"$UMBRA" --json list volumes | jq -e --arg v "$WORK/a" '.volumes[] | select(.volume == $v) | .attached.way == "direct"' >/dev/null || fail "list volumes"

trace "programs die"
# While it goes directly, killed programs are nothing to it; the next server finds the way as it is.
kill -KILL "$(attached_status a pid)" "$(attached_status a supervisor_pid)"
dd if=/dev/urandom of="$WORK/a/written" bs=1M count=4 conv=fsync status=none || fail "a volume that goes directly needs its server"
is_way a direct || fail "way $(way a)"
expect_status 1 "$UMBRA" create --provider cow --no-writers "$WORK/a"
expect_output "both its programs are gone"
expect_status 1 "$UMBRA" attach --dm auto /dev/vda a
expect_output "is in use, and both its programs are gone: unmount it first"
expect_status 1 "$UMBRA" detach a
expect_output "is in use, and both its programs are gone: unmount it first"
umount "$WORK/a"
"$UMBRA" detach a || fail "what dead programs left is not taken away"
nothing_mapped
mount /dev/vda "$WORK/a" && [ "$(stat -c %s "$WORK/a/written")" = 4194304 ] && umount "$WORK/a" || fail "what was written is not there"

trace "names"
# Somebody else's name; and where it need not be, it is not.
dmsetup create umbra-a --table "0 8 zero" 2>/dev/null || dmsetup create umbra-a --table "0 8 error"
expect_status 1 "$UMBRA" attach --dm yes /dev/vda a
expect_output "umbra-a"
"$UMBRA" attach --dm auto --front "$FRONT" --storage "$STORAGE" /dev/vda a >"$WORK/attach.out" 2>"$WORK/warned" || fail "attach beside somebody's device"
grep -q "without device-mapper, all I/O goes through the engine: .*umbra-a" "$WORK/warned" || fail "$(cat "$WORK/warned")"
[[ $(readlink /dev/umbra/a) == /dev/loop* ]] || fail "/dev/umbra/a is $(readlink /dev/umbra/a)"
"$UMBRA" detach a
dmsetup remove umbra-a
truncate -s 64M "$WORK/image"
expect_status 1 "$UMBRA" attach --dm yes --storage "$WORK" "$WORK/image" a
expect_output "needs a block device"
nothing_mapped
rmdir "$WORK/a"

# Under the order writer: each shadow copy one instant, its image clean; the way is the engine's as long as there is one.
trace "under load"
mapped_volume a ext4 /dev/vda
order_start "$WORK/a"
for ((i = 1; i <= ROUNDS; i++)); do
  order_advance 30
  prove_set a
  trace "set $i: one instant at operation $K, held $(jq .hold_ms <<<"$SET") ms"
  ((i % 4)) || goes a direct
done
order_stop
order_judge "$LAST" "$LAST" "$WORK/a/order"
goes a direct
plain_again a /dev/vda
nothing_mapped
trace "done"
