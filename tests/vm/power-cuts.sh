#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes the power away from a machine with an attached volume, again and again (CUTS times for each of ext4 and XFS over each front),
# while files are written and synced on it, fio checks what it reads, and persistent shadow copies of it are made, read and deleted; its
# disks lose everything that was not flushed. After each cut: the volume is attached again, its filesystem is sound and has every file
# that was acknowledged, fio's blocks are whole, and each persistent shadow copy is, byte for byte of what its filesystem had in use, what it was
# when it was made.
# timeout: 1800
. "$(dirname "$0")/../lib/functions.sh"
requires_program jq python3 fio mkfs.ext4 mkfs.xfs dumpe2fs xfs_db

CUTS=${CUTS:-2}
NAME=power
export UMBRA_RUNTIME_DIR=/run/umbra

# ---- in the machine, at each boot: what the last cut left is checked, then it goes on until the power is gone
shadow_sum() { "$TOP/tests/lib/used-blocks.py" "$TYPE" "$UMBRA_RUNTIME_DIR/attached/$NAME/mnt/shadow-$1"; }

check_shadows() {
  local id sum now count=0
  while read -r id sum; do
    [ "$("$UMBRA" --json show "$id" | jq -r .shadow.state)" = ready ] || fail "shadow copy $id: $("$UMBRA" show "$id")"
    now=$(shadow_sum "$id") && [ -n "$sum" ] || fail "shadow copy $id: no sum"
    [ "$now" = "$sum" ] || fail "shadow copy $id is not what it was"
    count=$((count + 1))
  done <"$NOTES/shadows"
  echo "$count" >>"$NOTES/checked"
}

# blocks FILE RW [OPTION...]: fio over blocks that say where they belong
blocks() {
  fio --name=blocks --filename="$WORK/v/$1" --rw="$2" --size=4M --bs=4k --ioengine=io_uring --direct=1 --verify_fatal=1 --verify_state_save=0 "${@:3}"
}
whole_blocks() { blocks whole "$@" --verify=pattern --verify_pattern=0x756d627261%o; }
sure_blocks() { blocks sure "$@" --verify=crc32c; }

check_volume() {
  mount "/dev/umbra/$NAME" "$WORK/v" || fail "the volume does not mount"
  mkdir -p "$WORK/v/files"
  "$TOP/tests/lib/acknowledged.py" check "$WORK/v/files" "$NOTES/acknowledged" >>"$NOTES/files" || fail "files are lost"
  if [ -e "$NOTES/whole" ]; then
    whole_blocks read >"$WORK/fio" 2>&1 || { cat "$WORK/fio" >&2; fail "blocks are torn or at the wrong place"; }
  else
    whole_blocks write --do_verify=0 --end_fsync=1 >"$WORK/fio" 2>&1 && sync "$WORK/v/whole" "$WORK/v" || { cat "$WORK/fio" >&2; fail "fio"; }
    : >"$NOTES/whole"
  fi
  umount "$WORK/v"
  if [ "$TYPE" = ext4 ]; then e2fsck -fn "/dev/umbra/$NAME" >"$WORK/fsck" 2>&1; else xfs_repair -n "/dev/umbra/$NAME" >"$WORK/fsck" 2>&1; fi ||
    { cat "$WORK/fsck" >&2; fail "$TYPE is damaged"; }
}

# A shadow copy is expected from when its sum is known until its deletion begins. The cut comes at any time, but the first one after there is
# something to be checked after it.
go_on() {
  local id sum oldest timed=no
  while :; do
    [ ! -s "$NOTES/fio" ] || fail "$(cat "$NOTES/fio")"
    if [ "$timed" = no ] && [ -s "$NOTES/shadows" ]; then
      timed=yes
      (sleep "$((RANDOM % 12)).$((RANDOM % 10))"; echo cut >"$VM_CTL") &
    fi
    id=$("$UMBRA" --json create --no-writers --persistent "$WORK/v" | jq -r '.set.shadows[0].id')
    sum=$(shadow_sum "$id") || fail "shadow copy $id: no sum"
    echo "$id $sum" >>"$NOTES/shadows"
    if [ "$(wc -l <"$NOTES/shadows")" -ge 4 ]; then
      oldest=$(head -n 1 "$NOTES/shadows" | cut -d ' ' -f 1)
      sed '1d' "$NOTES/shadows" >"$NOTES/shadows.new" && mv "$NOTES/shadows.new" "$NOTES/shadows"
      "$UMBRA" --quiet delete "$oldest"
    fi
  done
}

one_boot() {
  modprobe loop && modprobe fuse && modprobe "$TYPE" || fail "modules"
  mkdir -p "$WORK/v" "$UMBRA_RUNTIME_DIR"
  if [ ! -e "$NOTES/made" ]; then
    # As small as that only for tests, says mkfs.xfs.
    if [ "$TYPE" = ext4 ]; then mkfs.ext4 -q /dev/vda; else TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x mkfs.xfs -q -f /dev/vda; fi || fail "mkfs.$TYPE"
    sync /dev/vda
    : >"$NOTES/made"
  fi
  "$UMBRA" --quiet attach --front "$FRONT" --persistent --storage /dev/vdb --limit 150000000 --chunk 4096 /dev/vda $NAME >/dev/null || fail "attach"
  check_shadows
  check_volume
  [ "$1" != last ] || { "$UMBRA" detach $NAME || fail "detach"; exit 0; }
  mount "/dev/umbra/$NAME" "$WORK/v"
  background "$TOP/tests/lib/acknowledged.py" write "$WORK/v/files" "$NOTES/acknowledged" 2>>"$NOTES/writer"
  # What they see is told at once, since their end is the cut.
  for what in whole sure; do
    (${what}_blocks randwrite --iodepth=8 --rate_iops=100 --verify_backlog=64 --time_based --runtime=3600 >"$WORK/fio.$what" 2>&1 || true
      { echo "fio ended:"; cat "$WORK/fio.$what"; } >>"$NOTES/fio") &
  done
  go_on
}

if [ -n "${UMBRA_IN_VM:-}" ]; then
  export UMBRA_STATE_DIR=$NOTES/state
  one_boot "$1"
fi

# ---- on the host
program=${UMBRA_VM_RUN:-vm-run}
command -v "$program" >/dev/null || skip "no vm-run (set UMBRA_VM_RUN): this needs a virtual machine"
boot() {
  local status=0
  UMBRA_IN_VM=1 "$program" --mem 1G --timeout 600 --cache volatile --disk "$WORK/$volume.origin=96M" --disk "$WORK/$volume.storage=200M" \
    --rw "$NOTES" -- "$(realpath "$0")" "$1" >"$WORK/boot" 2>&1 || status=$?
  [ "$status" != 125 ] || skip "the virtual machine did not start: $(cat "$WORK/boot")"
  [ "$status" = "$2" ] || { cat "$WORK/boot" >&2; fail "$volume, after cut $((cut - 1)): status $status instead of $2"; }
}
for volume in {ublk,fuse}.{ext4,xfs}; do
  FRONT=${volume%.*} TYPE=${volume#*.}
  export FRONT TYPE NOTES=$WORK/$volume UMBRA_STATE_DIR=$WORK/$volume/state
  mkdir -p "$UMBRA_STATE_DIR"
  : >"$NOTES/shadows"
  : >"$NOTES/acknowledged"
  for ((cut = 1; cut <= CUTS; cut++)); do boot on 137; done
  boot last 0
  # They were no empty checks.
  [ "$(awk '{ n += $1 } END { print n }' "$NOTES/checked")" -gt 0 ] || fail "$volume: no shadow copy was checked"
  [ "$(tail -n 1 "$NOTES/files")" -gt 0 ] || fail "$volume: no file was checked: $(cat "$NOTES/writer" "$NOTES/files")"
  echo "$volume: $CUTS cuts, $(awk '{ n += $1 } END { print n }' "$NOTES/checked") shadow copies and $(awk '{ n += $1 } END { print n }' "$NOTES/files") files checked," \
    "$(wc -l <"$NOTES/acknowledged") writes acknowledged"
done
