#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test keeps the storage of attached volumes inside them (attach --storage inside), ext4 and XFS: the first create reserves a file, which is
# immutable and never written by the filesystem; shadow copies are what the volume was while it is overwritten, discarded, its server killed; a
# mounted shadow copy shows the file as zeros; revert spares it; the filesystem checks clean. The filesystem refuses to remove, cut, write, move,
# link or defragment it; storage is used while the filesystem is frozen; what is mounted over the file is not taken for it. If the file goes, or
# is cut, all shadow copies go, by the filesystem's first write there or at the next create, which makes a new one; the volume keeps every
# byte. --persistent is refused.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.xfs chattr fstrim e4defrag xfs_fsr fsfreeze fallocate

make() { "$UMBRA" --json create --no-writers --provider cow "$@" >"$WORK/set.json" 2>"$WORK/messages" || fail "create $*: $(cat "$WORK/messages")"; jq -r '.set.shadows[0].id' "$WORK/set.json"; }
state() { "$UMBRA" --json show "$1" | jq -r '.shadow.state + ": " + (.shadow.why // "")'; }
sums() { (cd "$1" && find . -type f ! -name .umbra-storage -exec sha256sum {} + | sort -k 2); }
new_server() { [ "$(attached_status "$ATTACHED" servers 2>/dev/null || echo 0)" -gt "$before" ]; }
# begin_anew: shadow copy $id, alone, in storage that is reserved for it, is what it should be when the volume has changed
begin_anew() {
  "$UMBRA" --quiet delete --all
  id=$(make "$v")
  sums "$v" >"$WORK/sums-$id"
  churn "$v"
  same "$id"
}
# same ID: it shows what $WORK/sums-ID says
same() {
  local dir
  dir=$("$UMBRA" mount "$1")
  sums "$dir" >"$WORK/found"
  # Unwritten, here as well: zeros, and no data for who asks.
  cmp -n 1048576 "$dir/.umbra-storage" /dev/zero || fail "$1: the storage file is not zeros"
  "$UMBRA" --quiet unmount "$1"
  diff "$WORK/sums-$1" "$WORK/found" >"$WORK/difference" || fail "$1 is not what the volume was: $(head -n 5 "$WORK/difference")"
}
# Before it is known what a shadow copy had free, all that is discarded is kept: that fills the storage. (So does a second time: the numbers of
# holes run out.)
free_known() { [ "$(attached_status "$ATTACHED" free_known)" = True ]; }
trim() {
  wait_for 60 free_known || fail "$type: what is free does not become known"
  fstrim "$v" || fail "$type: fstrim"
  for id in "${ids[@]}"; do [ "$(state "$id")" = "ready: " ] || fail "$type: after fstrim $id is $(state "$id")"; done
}
thaw() { fsfreeze --unfreeze "$v" 2>/dev/null || true; }
places() { filefrag -v "$1" | awk '/^ *[0-9]+:/ { print $4, $5, $6 }'; }
refused() { ! "$@" >"$WORK/refused" 2>&1 || fail "$type: not refused: $*"; grep -qi "not permitted\|denied" "$WORK/refused" || fail "$type: $*: $(cat "$WORK/refused")"; }
# What the filesystem refuses to whoever is not told to make it mutable first; whatever moves files leaves this one where it is.
hostile() {
  local file=$v/.umbra-storage at
  at=$(places "$file")
  [ -n "$at" ] || fail "$type: the storage file lies nowhere"
  refused rm -f "$file"
  refused mv "$file" "$v/elsewhere"
  refused ln "$file" "$v/elsewhere"
  refused truncate -s 0 "$file"
  refused fallocate --punch-hole --offset 0 --length 1M "$file"
  refused dd if=/dev/zero of="$file" bs=4k count=1 conv=notrunc
  case $type in
    ext4) e4defrag "$file" >"$WORK/defragmented" 2>&1 || true ;;
    xfs) xfs_fsr -v "$file" >"$WORK/defragmented" 2>&1 || true ;;
  esac
  [ "$(places "$file")" = "$at" ] || fail "$type: the storage file was moved: $(cat "$WORK/defragmented")"
}
# Storage is used while the filesystem is frozen: by what is written to a shadow copy, and the live volume waits for nobody.
while_frozen() {
  local id dir used
  id=$(make --read-write "$v")
  dir=$("$UMBRA" mount "$id")
  used=$(attached_status "$ATTACHED" used_bytes)
  fsfreeze --freeze "$v"
  timeout 60 dd if=/dev/urandom of="$dir/written" bs=1M count=16 conv=fsync status=none || fail "$type: no storage while the volume is frozen"
  [ "$(attached_status "$ATTACHED" used_bytes)" -ge $((used + 16000000)) ] || fail "$type: it took no storage"
  fsfreeze --unfreeze "$v"
  "$UMBRA" --quiet unmount "$id"
  "$UMBRA" --quiet delete "$id"
}
# A file that is mounted over the storage file is not it.
mounted_over() {
  fallocate -l 104857600 "$v/other"
  mount --bind "$v/other" "$v/.umbra-storage"
  expect_status 1 "$UMBRA" create --no-writers --provider cow "$v"
  expect_output "opening the volume's '.umbra-storage'"
  umount "$v/.umbra-storage"
  rm "$v/other"
}
churn() {
  local i
  for i in 1 2 3 4 5 6; do
    head -c "$((RANDOM % 1500000 + 1000))" /dev/urandom >"$1/f$((RANDOM % 12))"
    rm -f "$1/f$((RANDOM % 12))"
  done
  sync -f "$1"
}

for type in ext4 xfs; do
  attached_volume "$type" "$type" 500M --storage inside --limit 20%
  v=$WORK/$type
  gone='^dropped: (the filesystem uses what was its storage: the storage file was removed or moved|the storage is full)$'
  for n in {0..11}; do head -c 1000000 /dev/urandom >"$v/f$n"; done
  sync -f "$v"
  [ ! -e "$v/.umbra-storage" ] || fail "$type: a file before there is anything to keep"
  first=$(make "$v")
  sums "$v" >"$WORK/sums-$first"
  [ "$(stat -c '%s %u %a' "$v/.umbra-storage")" = "104857600 0 600" ] || fail "$type: $(stat "$v/.umbra-storage")"
  lsattr "$v/.umbra-storage" | grep -q '^[^ ]*i' || fail "$type: it is not immutable: $(lsattr "$v/.umbra-storage")"
  ! rm "$v/.umbra-storage" 2>/dev/null || fail "$type: it could be removed by accident"
  hostile
  cleanup_fn thaw
  while_frozen
  mounted_over
  "$UMBRA" --json list storage | jq -e --arg n "$ATTACHED" '.storage[] | select(.attached == $n) | .directory == "the volume itself" and (.limit_percent - 20 | fabs) < 1' >/dev/null ||
    fail "$type: $("$UMBRA" --json list storage)"
  ids=("$first")
  for round in 1 2 3 4; do
    churn "$v"
    [ "$round" != 2 ] || trim
    id=$(make "$v")
    sums "$v" >"$WORK/sums-$id"
    ids+=("$id")
    if [ "$round" = 3 ]; then
      before=$(attached_status "$ATTACHED" servers)
      kill -9 "$(attached_status "$ATTACHED" pid)"
      wait_for 60 new_server || fail "$type: no new server"
    fi
  done
  churn "$v"
  [ "$(attached_status "$ATTACHED" used_bytes)" -gt 1000000 ] || fail "$type: nothing was kept"
  for id in "${ids[@]}"; do same "$id"; done
  sums "$v" >"$WORK/live"

  # Back to the second, and the others stay what they are.
  unmount_alone "$v"
  "$UMBRA" --quiet revert "${ids[1]}"
  mount "/dev/umbra/$ATTACHED" "$v"
  sums "$v" >"$WORK/reverted"
  diff "$WORK/sums-${ids[1]}" "$WORK/reverted" >"$WORK/difference" || fail "$type: reverted to something else: $(head -n 5 "$WORK/difference")"
  for id in "${ids[@]}"; do same "$id"; done
  churn "$v"
  sums "$v" >"$WORK/live"
  unmount_alone "$v"
  case $type in
    ext4) e2fsck -fn "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 || fail "$(cat "$WORK/fsck")" ;;
    xfs) xfs_repair -n "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 || fail "$(cat "$WORK/fsck")" ;;
  esac
  mount "/dev/umbra/$ATTACHED" "$v"
  sums "$v" | diff "$WORK/live" - >"$WORK/difference" || fail "$type: the volume lost something: $(head -n 5 "$WORK/difference")"
  for id in "${ids[@]}"; do same "$id"; done

  # ---- the file goes; what the filesystem then writes there is whole, and nothing else is kept there
  chattr -i "$v/.umbra-storage"
  rm "$v/.umbra-storage"
  sync -f "$v"
  head -c 430M /dev/urandom >"$WORK/large" || true
  cp "$WORK/large" "$v/large" 2>/dev/null || true # as much as there is room for
  sync -f "$v"
  size=$(stat -c %s "$v/large")
  [ "$size" -gt 300000000 ] || fail "$type: only $size bytes found room"
  for id in "${ids[@]}"; do
    # What was overwritten on the way there may have filled the storage before.
    [[ $(state "$id") =~ $gone ]] ||
      fail "$type: $id is $(state "$id")"
  done
  [ "$(attached_status "$ATTACHED" limit_bytes)" = 0 ] || fail "$type: its storage is still where the filesystem has put something"
  churn "$v" 2>/dev/null || true
  unmount_alone "$v"
  mount "/dev/umbra/$ATTACHED" "$v"
  cmp -n "$size" "$WORK/large" "$v/large" || fail "$type: the volume lost data where its storage had been"
  rm "$v/large" "$WORK/large"
  begin_anew

  # ---- it is cut, and what it had is another file's at once
  chattr -i "$v/.umbra-storage"
  truncate -s 4096 "$v/.umbra-storage"
  sync -f "$v"
  head -c 430M /dev/urandom >"$v/large" 2>/dev/null || true
  sync -f "$v"
  before=$(sha256sum <"$v/large")
  [[ $(state "$id") =~ $gone ]] || fail "$type: the file was cut, and $id is $(state "$id")"
  unmount_alone "$v"
  mount "/dev/umbra/$ATTACHED" "$v"
  [ "$(sha256sum <"$v/large")" = "$before" ] || fail "$type: the volume lost data where its storage had been"
  rm "$v/large"
  begin_anew

  # ---- the file goes and nothing is written there: the next create sees it
  chattr -i "$v/.umbra-storage"
  mv "$v/.umbra-storage" "$v/elsewhere"
  sync -f "$v"
  other=$(make "$v")
  sums "$v" >"$WORK/sums-$other"
  grep -q "the storage inside volume '$v' was removed or moved: its shadow copies were dropped" "$WORK/messages" || fail "$type: not said: $(cat "$WORK/messages")"
  [[ $(state "$id") = "dropped: the storage file was removed or moved" ]] || fail "$type: $id is $(state "$id")"
  churn "$v"
  same "$other"
  "$UMBRA" --quiet delete --all
  unmount_alone "$v"
  "$UMBRA" detach "$ATTACHED"
  # The plain device is whole without umbra, and the next attach begins anew.
  mount "$ORIGIN" "$v"
  sums "$v" >"$WORK/live"
  unmount_alone "$v"
  "$UMBRA" attach --storage inside "$ORIGIN" "$ATTACHED" >/dev/null
  mount "/dev/umbra/$ATTACHED" "$v"
  sums "$v" | diff "$WORK/live" - >"$WORK/difference" || fail "$type: after detach: $(head -n 5 "$WORK/difference")"
  id=$(make "$v")
  sums "$v" >"$WORK/sums-$id"
  churn "$v"
  same "$id"
  "$UMBRA" --quiet delete --all
  unmount_alone "$v"
  "$UMBRA" detach "$ATTACHED"
done

# ---- what cannot be
expect_status 1 "$UMBRA" attach --storage inside --persistent "$ORIGIN" other
expect_output "storage inside the volume cannot be persistent"
attached_volume f2 ext4 200M --storage inside --limit 400000000
expect_status 1 "$UMBRA" create --no-writers --provider cow "$WORK/f2"
expect_output "reserving 400000000 bytes in the volume's '.umbra-storage' \(umbra attach --limit\): No space left on device"
[ ! -e "$WORK/f2/.umbra-storage" ] || fail "a file is left for nothing"
