#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test clones some paths of a volume, and moves files and directories into them after they were copied: the clone has them
# whole. What was overwritten since the hold before it could be fetched makes the clone fail, never a clone with other content.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"

for type in ext4 xfs; do
  case $type in
    ext4) scope_make ext4 300M "300 600 900 200" -b 4096 ;;
    xfs) scope_make xfs 330M "300 60000 900 200" ;;
  esac
  v=$WORK/source
  mkdir -p "$v/store/sub/deep"
  for i in $(seq 200); do head -c $((i * 100)) /dev/urandom >"$v/store/sub/file-$i"; done
  head -c 6M /dev/urandom >"$v/store/heavy"
  # Made before anything is freed: XFS's first walk may still see what lay in freed blocks, and copy them.
  head -c 3M /dev/urandom >"$v/store/overwritten"
  ln "$v/store/heavy" "$v/store/second-name"
  # Beginning with a letter: setfattr takes 0s and 0x for encodings.
  setfattr -n user.large -v "v$(head -c 400 /dev/urandom | base64 -w 0)" "$v/store/sub/deep"
  sync -f "$v"

  scope_drive "$type" in/dir-100 in/attributes || { cat "$WORK/drive.err" >&2; fail "$type: no clone"; }
  [ "$BYTES" -le $((8 << 20)) ] || fail "$type: a clone of little takes $BYTES bytes"

  PREPARED="mv $v/store/sub $v/store/heavy $v/in/dir-100/ && rm $v/in/dir-100/entry-1"
  scope_drive "$type" in/dir-100 || { cat "$WORK/drive.err" >&2; fail "$type: no clone with what was moved in"; }
  grep -q sub/file-200 "$WORK/held-1" || fail "$type: nothing was moved in"
  [ "$BYTES" -le $((24 << 20)) ] || fail "$type: a clone of 8 MiB takes $BYTES bytes"

  # Moved in before the hold and gone after it: its blocks are still there.
  head -c 3M /dev/urandom >"$v/store/short-lived"
  sync -f "$v"
  PREPARED="mv $v/store/short-lived $v/in/dir-100/" THAWED="rm $v/in/dir-100/short-lived"
  scope_drive "$type" in/dir-100 || { cat "$WORK/drive.err" >&2; fail "$type: no clone with what was moved in and removed"; }
  grep -q short-lived "$WORK/held-1" || fail "$type: nothing was moved in"

  # The image on the volume itself: it grows after the hold, by blocks that may just have been freed.
  head -c 3M /dev/urandom >"$v/store/beside-the-image"
  sync -f "$v"
  PREPARED="mv $v/store/beside-the-image $v/in/dir-100/" THAWED="rm $v/in/dir-100/beside-the-image && sync -f $v"
  STORAGE=$v/storage
  scope_drive "$type" in/dir-100 in/deep || grep -q 'has to be held again: ' "$WORK/drive.err" ||
    { cat "$WORK/drive.err" >&2; fail "$type: no clone with the image on the volume itself"; }
  PREPARED="mv $v/in/deep $v/in/dir-100/" THAWED=
  scope_drive "$type" in/dir-100 || { cat "$WORK/drive.err" >&2; fail "$type: no clone with the image on the volume itself"; }
  [ "$BYTES" -le $((32 << 20)) ] || fail "$type: with the image on the volume itself a clone takes $BYTES bytes"
  STORAGE=$WORK/storage

  # The same where freed blocks are discarded: what is read of them then is not what was in them.
  mount -o remount,discard "$v"
  head -c 3M /dev/urandom >"$v/store/discarded"
  sync -f "$v"
  PREPARED="mv $v/store/discarded $v/in/dir-100/" THAWED="rm $v/in/dir-100/discarded && sync -f $v && fstrim $v"
  if scope_drive "$type" in/dir-100; then
    grep -q discarded "$WORK/held-1" || fail "$type: nothing was moved in"
  else
    grep -q 'has to be held again: ' "$WORK/drive.err" || { cat "$WORK/drive.err" >&2; fail "$type: failed in other words"; }
  fi

  # Overwritten in place since the hold.
  PREPARED="mv $v/store/overwritten $v/in/dir-100/"
  THAWED="dd if=/dev/zero of=$v/in/dir-100/overwritten bs=64k count=2 seek=20 oflag=direct conv=notrunc,fsync status=none"
  ! scope_drive "$type" in/dir-100 || fail "$type: a clone although something was lost"
  grep -q 'has to be held again: .*overwritten since the hold' "$WORK/drive.err" ||
    { cat "$WORK/drive.err" >&2; fail "$type: failed in other words"; }
  PREPARED='' THAWED=''
  scope_drop
done
