#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies tmpfs and overlayfs, which cannot be frozen: the copy is one instant if nothing changed between the first look and the last,
# and is said to be none while a program goes on writing, or has a tmpfs file mapped for writing.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program python3 rsync

mkdir "$WORK/tmpfs" "$WORK/lower" "$WORK/upper" "$WORK/work" "$WORK/overlay"
mount -t tmpfs -o size=64M none "$WORK/tmpfs"
make_volume base ext4 100M
mkdir "$WORK/base/lower" "$WORK/base/upper" "$WORK/base/work"
"$ODD_TREE" "$WORK/base/lower"
mount -t overlay -o "lowerdir=$WORK/base/lower,upperdir=$WORK/base/upper,workdir=$WORK/base/work" none "$WORK/overlay"
echo changed >"$WORK/overlay/plain/b"
rm -r "$WORK/overlay/acl"

for volume in "$WORK/tmpfs" "$WORK/overlay"; do
  mkdir "$volume/made"; for i in $(seq 500); do echo "$i" >"$volume/made/$i"; done
  copy_of "$volume" --prepared "echo late >$volume/late; ln $volume/late $volume/later" \
    --then "$SAME_TREE $volume \$IMAGE" || fail "the copy of $volume differs"
  ! grep -q 'instant lost' "$WORK/drive" || fail "$volume: said to be no instant although nothing changed"

  # The last round is over by then: what changes from here on is read in the commit, and each read changes something else.
  rm -f "$WORK/begun"
  "$TOP/tests/lib/change-when-read" "$volume/made" "$WORK/begun" &
  changer=$!
  cleanup_fn kill_and_wait $changer
  wait_for 10 test -e "$WORK/begun" || fail "the changer did not start"
  copy_of "$volume" --precommitted "echo more >>$volume/made/1" || fail "no copy of $volume while it changes"
  kill_and_wait $changer
  grep -q 'instant lost' "$WORK/drive" || fail "$volume: said to be one instant although it changed all the time"
done

python3 -c 'import mmap, os, sys, signal
fd = os.open(sys.argv[1], os.O_RDWR); m = mmap.mmap(fd, 2); open(sys.argv[2], "w").close(); signal.pause()' \
  "$WORK/tmpfs/made/1" "$WORK/mapped" &
mapper=$!
cleanup_fn kill_and_wait $mapper
wait_for 10 test -e "$WORK/mapped" || fail "the mapper did not start"
copy_of "$WORK/tmpfs" || fail "no copy of tmpfs with a mapped file"
grep -q 'instant lost' "$WORK/drive" || fail "tmpfs: mapped stores cannot be seen, but the copy is said to be one instant"
