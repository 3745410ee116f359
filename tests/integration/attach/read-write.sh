#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test writes to shadow copies of attached volumes (create --read-write): through umbra mount and through the device, which are one
# filesystem. The volume, older and newer shadow copies do not see it; a server that is killed loses nothing of it; other shadow copies
# stay read-only; deletion gives the space back; a full storage refuses the write and keeps the others; persistent and writable is refused.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.xfs

make() { "$UMBRA" --json create --no-writers --provider cow "$@" >"$WORK/set.json"; jq -r '.set.shadows[0].id' "$WORK/set.json"; }
new_server() { [ "$(attached_status "$ATTACHED" servers 2>/dev/null || echo 0)" -gt "$before" ]; }
no_overlay() { [ "$(attached_status "$ATTACHED" overlay_bytes)" = 0 ]; }
# The content of FILE in shadow copy ID, by a mount of its own
shown() {
  local dir text
  dir=$("$UMBRA" mount "$1")
  text=$(cat "$dir/$2")
  "$UMBRA" --quiet unmount "$1"
  echo "$text"
}

for type in ext4 xfs; do
  attached_volume "$type" "$type" 400M
  v=$WORK/$type
  echo live >"$v/file"; sync
  old=$(make "$v")
  echo newer >"$v/file"
  mid=$(make --read-write "$v")
  device=$(jq -r '.set.shadows[0].device' "$WORK/set.json")
  [ "$(blockdev --getro "$device")" = 0 ] || fail "$device cannot be written"
  echo newest >"$v/file"; sync
  new=$(make "$v")
  [ "$(blockdev --getro "$(jq -r '.set.shadows[0].device' "$WORK/set.json")")" = 1 ] || fail "a read-only one's device is writable"

  dir=$("$UMBRA" mount "$mid")
  [ "$(cat "$dir/file")" = newer ] || fail "$type: it shows $(cat "$dir/file")"
  echo repaired >"$dir/file"
  head -c 5M /dev/urandom >"$dir/large"
  sync -f "$dir/file"
  # Both mounts are of one device, hence one filesystem.
  [ "$(findmnt -no SOURCE "$dir")" = "$device" ] || fail "mounted from $(findmnt -no SOURCE "$dir"), its device is $device"
  mkdir -p "$WORK/beside"
  mount "$device" "$WORK/beside"
  echo by the device >"$WORK/beside/other"
  [ "$(cat "$dir/other")" = "by the device" ] || fail "$type: two mounts show two filesystems"
  umount "$WORK/beside"
  # Its server dies, between and under writes.
  (for _ in {1..30}; do dd if=/dev/urandom of="$dir/more" bs=64k count=16 conv=notrunc,fsync 2>/dev/null || exit 1; done) &
  writer=$!
  for _ in 1 2 3; do
    before=$(attached_status "$ATTACHED" servers)
    kill -9 "$(attached_status "$ATTACHED" pid)"
    wait_for 60 new_server || fail "no new server"
  done
  wait "$writer" || fail "$type: writing to the shadow copy failed when its server was killed"
  cp "$dir/large" "$WORK/large"
  "$UMBRA" --quiet unmount "$mid"
  [ "$(shown "$mid" file)" = repaired ] || fail "$type: what was written is gone: $(shown "$mid" file)"
  "$UMBRA" mount "$mid" >"$WORK/dir"
  cmp "$WORK/large" "$(cat "$WORK/dir")/large" || fail "$type: a large file differs"
  "$UMBRA" --quiet unmount "$mid"
  [ "$(shown "$old" file)" = live ] || fail "$type: the older one shows $(shown "$old" file)"
  [ "$(shown "$new" file)" = newest ] || fail "$type: the newer one shows $(shown "$new" file)"
  [ "$(cat "$v/file")" = newest ] && [ ! -e "$v/large" ] || fail "$type: the volume was changed"
  dir=$("$UMBRA" mount "$new")
  ! touch "$dir/x" 2>/dev/null || fail "$type: a read-only one was written"
  "$UMBRA" --quiet unmount "$new"
  # Neither does who opens the file below it.
  ! dd if=/dev/zero of="$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$new" bs=4k count=1 conv=notrunc 2>"$WORK/dd" || fail "$type: the file of a read-only one was written"
  grep -q 'Read-only file system' "$WORK/dd" || fail "$(cat "$WORK/dd")"
  used=$(attached_status "$ATTACHED" overlay_bytes)
  [ "$used" -ge 5242880 ] || fail "$type: $used bytes are written to shadow copies"
  "$UMBRA" --quiet delete "$mid"
  wait_for 30 no_overlay || fail "$type: deletion left $(attached_status "$ATTACHED" overlay_bytes) bytes"
  [ "$(shown "$old" file)" = live ] || fail "$type: after the deletion the older one shows $(shown "$old" file)"
  "$UMBRA" --quiet delete --all
  case $type in
    ext4) umount "$v"; e2fsck -fn "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 || fail "$(cat "$WORK/fsck")"; mount "/dev/umbra/$ATTACHED" "$v" ;;
    xfs) umount "$v"; xfs_repair -n "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 || fail "$(cat "$WORK/fsck")"; mount "/dev/umbra/$ATTACHED" "$v" ;;
  esac
done

# ---- a full storage: the write fails, the shadow copies and the volume do not
attached_volume small ext4 300M --limit 33554432
echo live >"$WORK/small/file"; sync
keep=$(make "$WORK/small")
full=$(make --read-write "$WORK/small")
dir=$("$UMBRA" mount "$full")
! dd if=/dev/urandom of="$dir/big" bs=1M count=60 conv=fsync 2>"$WORK/dd" || fail "60 MiB were written to 32"
umount -l "$dir" 2>/dev/null || true
"$UMBRA" --quiet unmount "$full" 2>/dev/null || true
[ "$(shown "$keep" file)" = live ] || fail "the other shadow copy was given up for it"
head -c 2M /dev/urandom >"$WORK/small/more"; sync
python3 - "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/control" >"$WORK/events" <<'END'
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(30); s.connect(sys.argv[1]); s.send(b'{"do": "events"}')
print(json.dumps(json.loads(s.recv(65536))["events"]))
END
jq -e --arg id "$full" 'any(.[]; .kind == "not-written" and .shadow == $id)' "$WORK/events" >/dev/null || fail "no event: $(cat "$WORK/events")"
"$UMBRA" --quiet delete --all

# ---- not both
attached_volume kept ext4 200M --persistent
expect_status 1 "$UMBRA" create --no-writers --provider cow --persistent --read-write "$WORK/kept"
expect_output "its shadow copies are persistent or writable, not both"
id=$(make --read-write "$WORK/kept")
dir=$("$UMBRA" mount "$id")
echo written >"$dir/file"
"$UMBRA" --quiet unmount "$id"
[ "$(shown "$id" file)" = written ] || fail "on storage with a ledger it shows $(shown "$id" file)"
"$UMBRA" --quiet delete --all
