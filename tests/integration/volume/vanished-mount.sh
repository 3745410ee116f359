#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test unmounts a volume, or mounts something over it, between looking and opening: opening refuses, so that nothing is ever
# frozen in its place.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume volume ext4 32M
device=$DEVICE
mkfifo "$WORK/go"

# volume-show waits for a line before it opens.
start() {
  "$BUILD/tests/volume-show" --wait "$WORK/volume" <"$WORK/go" >"$WORK/shown" 2>"$WORK/messages" &
  pid=$!
  exec 9>"$WORK/go"
  for _ in $(seq 100); do grep -q waiting "$WORK/messages" 2>/dev/null && return; sleep 0.05; done
  fail "volume-show does not wait"
}
# Lets it go on; opened: true, or why it was not.
finish() {
  echo >&9
  exec 9>&-
  wait "$pid" || fail "$(cat "$WORK/messages")"
  opened=$(jq -r '.[0].open' "$WORK/shown")
}

start
finish
[ "$opened" = true ] || fail "it opens when nothing happens"

start
umount "$WORK/volume"
finish
[[ $opened == *"no longer what is mounted there"* ]] || fail "opened the parent: $opened"

mount "$device" "$WORK/volume"
start
mount -t tmpfs none "$WORK/volume"
finish
[[ $opened == *"no longer what is mounted there"* ]] || fail "opened what was mounted over it: $opened"
umount "$WORK/volume"

# Mounted anew it is another mount, though of the same filesystem: seen as such, not guessed.
start
umount "$WORK/volume"
mount "$device" "$WORK/volume"
finish
[ "$opened" = true ] || [[ $opened == *"no longer"* ]] || fail "$opened"
