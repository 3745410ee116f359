# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by tests of the provider clone: writers, and comparing what it made with the frozen device.
# shellcheck shell=bash
requires_root
requires_program fio losetup jq e2fsck xfs_repair
drive() { timeout 120 "$BUILD/tests/provider-drive" "$@"; }

# busy_writers DIRECTORY SECONDS: direct and buffered random writes, files coming and going, and trimming. No space is
# allocated without being written: what lies there is nobody's, and an image may differ in it.
busy_writers() {
  local directory=$1 seconds=$2
  background fio --thread --name=direct --fallocate=none --directory="$directory" --size=24M --rw=randwrite --bs=4k --rate=8m --ioengine=io_uring \
    --iodepth=8 --direct=1 --runtime="$seconds" --time_based --output=/dev/null
  background fio --thread --name=buffered --fallocate=none --directory="$directory" --size=24M --rw=randwrite --bs=4k --rate=8m --runtime="$seconds" \
    --time_based --output=/dev/null
  background bash -c "end=\$((SECONDS + $seconds)); i=0
    while [ \$SECONDS -lt \$end ]; do
      i=\$((i + 1)); mkdir -p '$directory/churn'; dd if=/dev/urandom of='$directory/churn/'\$((i % 20)) bs=16k count=\$((i % 9)) status=none
      mv '$directory/churn/'\$((i % 20)) '$directory/churn/moved'; rm -f '$directory/churn/'\$((i % 7))
      [ \$((i % 10)) != 0 ] || fstrim '$directory'
    done"
  wait_for 20 test -s "$directory/churn/moved" || fail "the writers did not start"
}

stop_writers() {
  local pid
  for pid in $(jobs -p); do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

# check_image FSTYPE FROZEN IMAGE: clean, and the frozen device's bytes in all that is allocated
check_image() {
  local type=$1 frozen=$2 image=$3 options=ro,noload
  [ "$type" != xfs ] || options=ro,norecovery,nouuid
  case $type in
    ext*) e2fsck -fn "$image" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck"; fail "e2fsck of the image"; } ;;
    xfs) # A frozen XFS leaves its log to be replayed on purpose (xfs_fs_freeze()): replayed, in a copy, it must be clean.
      cp --sparse=always "$image" "$WORK/replayed"; mkdir -p "$WORK/replay"
      mount -t xfs -o loop,nouuid "$WORK/replayed" "$WORK/replay" && umount "$WORK/replay" || fail "replaying the log of the image"
      xfs_repair -n "$WORK/replayed" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck"; fail "xfs_repair of the image"; }
      rm "$WORK/replayed" ;;
  esac
  mkdir -p "$WORK/frozen-mount"
  mount -t "$type" -o "loop,$options" "$frozen" "$WORK/frozen-mount" || fail "mounting the frozen device's copy"
  "$BUILD/tests/same-allocated" "$WORK/frozen-mount" "$frozen" "$image" || fail "the image is not the frozen device"
  umount "$WORK/frozen-mount"
}

# save_frozen DEVICE: the shell command that saves the frozen device at $WORK/frozen
save_frozen() { echo "dd if=$1 of=$WORK/frozen bs=1M iflag=direct conv=sparse status=none"; }
# save_image: the one that saves the image at $WORK/copy
save_image() { echo "cp --sparse=always \"\$IMAGE\" $WORK/copy"; }

# nothing_pinned: no tracking is pinned for a file of this test. (What is not pinned goes with its process.)
nothing_pinned() {
  local link
  for link in /sys/fs/bpf/umbra/*/for; do
    [[ $(readlink "$link") != "$WORK"/* ]] || fail "tracking is still pinned for $(readlink "$link")"
  done
}
