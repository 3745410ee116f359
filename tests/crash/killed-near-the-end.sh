#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills umbra create when its shadow copy is whole and about to be published: whether the set made it into the catalogue or
# not, its loop device and its image go with it.
. "$(dirname "$0")/../lib/functions.sh"
requires_root

make_volume a ext4 64M
alive() { kill -0 "$1" 2>/dev/null; }
for _ in {1..15}; do
  "$UMBRA" --quiet create --provider clone "$WORK/a" >/dev/null 2>&1 &
  pid=$!
  # Its loop device is there: what is left of the way is the journal, keeping the device, and the catalogue's fsync.
  until grep -qsF "$UMBRA_STATE_DIR" /sys/block/loop*/loop/backing_file || ! alive "$pid"; do :; done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  "$UMBRA" --quiet delete --all
done
left=$(losetup --noheadings --output NAME,BACK-FILE | grep -F "$UMBRA_STATE_DIR" || true)
[ -z "$left" ] || fail "loop devices are left: $left"
left=$(find "$UMBRA_STATE_DIR" "$UMBRA_RUNTIME_DIR" -type f)
[ -z "$left" ] || fail "files are left: $left"
