#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test damages the persistent storage of an attached volume in each of its parts: `umbra storage check` names what is wrong and changes nothing,
# and an attach drops what cannot be trusted; a reader gets an error, never other data.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq python3

mkdir "$WORK/storage"
attached_volume v ext4 200M --persistent --storage "$WORK/storage" --limit 100000000
store=$WORK/storage/umbra-$ATTACHED.storage
attach() { "$UMBRA" attach --persistent --storage "$WORK/storage" "$ORIGIN" "$ATTACHED" >/dev/null; }
create() { "$UMBRA" --json create --no-writers --persistent --provider cow "$WORK/v" | jq -r '.set.shadows[0].id'; }
dd if=/dev/urandom of="$WORK/v/big" bs=1M count=8 conv=fsync status=none
one=$(create)
dd if=/dev/urandom of="$WORK/v/big" bs=1M count=8 conv=notrunc,fsync status=none
two=$(create)
dd if=/dev/urandom of="$WORK/v/big" bs=1M count=4 conv=notrunc,fsync status=none
expect_status 1 "$UMBRA" storage check "$store"
expect_output "storage '$store' is in use: detach its volume first"
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"

# Sound, and told as it is.
sha256sum "$store" >"$WORK/sum"
expect_status 0 "$UMBRA" storage check "$store"
expect_output "sound, detached in good order: shadow copies 2, dropped 0; entries [0-9]+, left over 0, unfinished 0"
[ "$("$UMBRA" --json storage check "$store" | jq -r '[.sound, .live, (.problems | length)] | join(" ")')" = "true 2 0" ] || fail "check --json"
"$UMBRA" --json storage dump "$store" >"$WORK/dump"
[ "$(jq -r 'select(.kind == "shadow" and .state == "live").id' "$WORK/dump")" = "$one
$two" ] || fail "dump has other shadow copies"
[ "$(jq -r 'select(.kind == "superblock").state' "$WORK/dump" | sort -u)" = good ] || fail "dump of superblocks"
entries=$(jq -c 'select(.kind == "entry")' "$WORK/dump" | wc -l)
[ "$entries" -ge 700 ] || fail "only $entries entries"
[ "$("$UMBRA" storage dump "$store" | grep -c '^entry slot=')" = "$entries" ] || fail "dump in words has other entries"
sha256sum -c --quiet "$WORK/sum" || fail "check or dump changed the storage"
expect_status 1 "$UMBRA" storage check "$ORIGIN"
expect_output "it is no storage of umbra"
expect_status 1 "$UMBRA" storage dump /dev/null
expect_status 2 "$UMBRA" storage mend "$store"

# damage OFFSET: in a copy
slots=$(jq -r 'select(.kind == "superblock") | .slots' "$WORK/dump" | head -n 1)
holes=$(jq -r 'select(.kind == "superblock") | .holes' "$WORK/dump" | head -n 1)
start=$(((139264 + ((slots + holes) * 32 + 4095) / 4096 * 4096 + 65535) / 65536 * 65536))
slot=$(jq -r --argjson slots "$slots" 'select(.kind == "entry" and .slot < $slots) | .slot' "$WORK/dump" | sed -n 300p)
damage() {
  cp --sparse=always "$store" "$WORK/copy"
  python3 - "$WORK/copy" "$1" <<'END2'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); byte = f.read(1)
    f.seek(int(sys.argv[2])); f.write(bytes([byte[0] ^ 0x10]))
END2
}
damage 100
expect_status 1 "$UMBRA" storage check "$WORK/copy"
expect_output "superblock 0 is damaged: the other one is used"
damage 8200
expect_status 1 "$UMBRA" storage check "$WORK/copy"
expect_output "record 0 of the table is damaged: all shadow copies will be dropped"
damage $((139264 + slot * 32 + 3))
expect_status 1 "$UMBRA" storage check "$WORK/copy"
expect_output "the cell of slot $slot is damaged: all shadow copies will be dropped"
damage $((start + slot * 16384 + 5000))
expect_status 1 "$UMBRA" storage check "$WORK/copy"
expect_output "slot $slot \(chunk [0-9]+, epoch [0-9]+\) does not hold what was stored"
cp --sparse=always "$store" "$WORK/copy"
truncate -s $((start + 100 * 16384)) "$WORK/copy"
expect_status 1 "$UMBRA" storage check "$WORK/copy"
expect_output "slot [0-9]+ is in use, but the storage has been cut off before it"
truncate -s 5000 "$WORK/copy"
expect_status 1 "$UMBRA" storage check "$WORK/copy"
expect_output "the storage has been cut off"

# What an attach makes of it: one bad slot is an error where it is read, and nowhere else; a bad cell ends all of them.
damage $((start + slot * 16384 + 5000))
cp "$store" "$WORK/sound"
cat "$WORK/copy" >"$store"
attach
image=$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$one
python3 - "$image" <<'END2' || fail "not exactly one chunk is unreadable"
import os, sys
fd, bad, at = os.open(sys.argv[1], os.O_RDONLY), 0, 0
size = os.fstat(fd).st_size
while at < size:
    try: os.pread(fd, 16384, at)
    except OSError as e: bad += 1; assert e.errno == 5
    at += 16384
assert bad == 1, bad
END2
"$UMBRA" detach "$ATTACHED"
cat "$WORK/sound" >"$store"
damage $((139264 + slot * 32 + 3))
cat "$WORK/copy" >"$store"
expect_status 0 attach
expect_output "all shadow copies in '$store' are dropped: the storage is damaged"
[ "$("$UMBRA" --json show "$one" | jq -r .shadow.why)" = "the storage is damaged" ] || fail "it is not told why"
"$UMBRA" --quiet delete --all
"$UMBRA" detach "$ATTACHED"
expect_status 0 "$UMBRA" storage check "$store"
expect_output "sound, detached in good order: shadow copies 0, dropped 0; entries 0, left over 0, unfinished 0"
no_attached_left
