#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test fills the storage of an attached volume: the live volume goes on, the oldest shadow copies go, their readers get an error and
# never wrong data, events say so; with --full stop-writes the writes fail instead and go on when a shadow copy is deleted.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

attached_volume v ext4 300M --limit 134217728
ask() {
  python3 -c 'import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(30); s.connect(sys.argv[1]); s.send(sys.argv[2].encode())
print(s.recv(65536).decode())' "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/control" "$1"
}
create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0].id'; }

fill() { dd if=/dev/urandom of="$WORK/v/$1" bs=1M count="$2" conv=notrunc,fsync status=none; }
fill a 120
"$UMBRA" list storage >/dev/null || fail "an empty storage is called full"
old=$(create)
base=$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt
exec 8<"$base/shadow-$old"
fill a 60
new=$(create)
sum=$(sha256sum <"$base/shadow-$new")
# Until little more than four fifths are used: the filesystem writes things of its own, too (its journal, tables that are made later), up to some
# 13 MiB, for which there is room.
for ((n = 92; n < 120; n++)); do
  fill a "$n"
  ! ask '{"do":"status"}' | jq -e .over_warning >/dev/null || break
done
[ "$(ask '{"do":"list","after":0}' | jq -r ".shadows[] | select(.id == \"$old\") | .state + \" \" + .why")" = "dropped the storage is full" ] || fail "the oldest was not dropped"
! cat <&8 >/dev/null 2>&1 || fail "who read the dropped one got no error"
exec 8<&-
[ "$(sha256sum <"$base/shadow-$new")" = "$sum" ] || fail "the newer one changed"
ask '{"do":"events","since":0}' | jq -e '[.events[].kind] | contains(["storage-high", "dropped"])' >/dev/null || fail "no events"
expect_status 1 "$UMBRA" list storage
expect_output "the storage of attached volume '$ATTACHED' is nearly full"
"$UMBRA" --quiet delete --all
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"

"$UMBRA" attach "$ORIGIN" "$ATTACHED" --limit 67108864 --full stop-writes >/dev/null
mount "/dev/umbra/$ATTACHED" "$WORK/v"
id=$(create)
unmount_alone "$WORK/v"
sum=$(sha256sum <"$base/shadow-$id")
! dd if=/dev/zero of="/dev/umbra/$ATTACHED" bs=1M count=200 oflag=direct status=none 2>"$WORK/dd" || fail "writes went on"
[ "$(sha256sum <"$base/shadow-$id")" = "$sum" ] || fail "the shadow copy changed"
"$UMBRA" --quiet delete --all
dd if=/dev/zero of="/dev/umbra/$ATTACHED" bs=1M count=200 oflag=direct status=none || fail "writes do not go on"
"$UMBRA" detach "$ATTACHED"
no_attached_left
