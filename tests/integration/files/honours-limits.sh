#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test reaches every limit: the storage limit, a full storage, cancelling, a 2 TiB sparse file, a file that grows all the time, an empty
# volume, more changes right before the hold than fit into memory at first. Each ends well or with an error that names the culprit; nothing is left.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs

nothing_left() { [ -z "$(ls "$STORAGE")" ] || fail "something is left: $(ls "$STORAGE")"; }

make_volume v xfs 400M
volume=$WORK/v
copy_of "$volume" --then "$SAME_TREE $volume \$IMAGE" || fail "the copy of an empty volume differs"
mkdir "$volume/d"; head -c 8M /dev/urandom >"$volume/d/eight"; head -c 8M /dev/urandom >"$volume/nine"

! copy_of "$volume" --storage-max 10000000 2>/dev/null || fail "the storage limit was passed"
grep -q "storage limit of 10000000 bytes" "$WORK/drive" && grep -q "'d/eight'" "$WORK/drive" || fail "the limit is not named: $(cat "$WORK/drive")"
nothing_left
copy_of "$volume" --storage-max 20000000 || fail "the storage limit is too small"
# The limit holds for what is read under the hold as well.
! copy_of "$volume" --storage-max 20000000 --precommitted "head -c 6M /dev/urandom >$volume/more" 2>/dev/null || fail "the limit was passed in the hold"
nothing_left
rm "$volume/more"

truncate -s 12M "$WORK/small.img"; mkfs.ext4 -q -F "$WORK/small.img"; mkdir "$WORK/small"; mount -o loop "$WORK/small.img" "$WORK/small"
cleanup_fn umount "$WORK/small"
! STORE_IN=$WORK/small copy_of "$volume" 2>/dev/null || fail "16 MiB fitted into less"
grep -q "the storage '$WORK/small' is full" "$WORK/drive" || fail "the full storage is not named: $(cat "$WORK/drive")"
[ "$(ls "$WORK/small")" = lost+found ] || fail "something is left in the full storage"

! copy_of "$volume" --cancel-at 1000000 2>/dev/null || fail "cancelling had no effect"
grep -q "cancelled" "$WORK/drive" || fail "not cancelled: $(cat "$WORK/drive")"
nothing_left

truncate -s 2T "$volume/huge"; printf end | dd of="$volume/huge" bs=1 seek=2199023255000 conv=notrunc status=none
copy_of "$volume" --precommitted "printf mid | dd of=$volume/huge bs=1 seek=1099511627776 conv=notrunc status=none" \
  --then "test \$(stat -c %s \$IMAGE/huge) = 2199023255552 && test \$(stat -c %b \$IMAGE/huge) -lt 1000 &&
    test \$(dd if=\$IMAGE/huge bs=1 skip=1099511627776 count=3 status=none) = mid && test \$(dd if=\$IMAGE/huge bs=1 skip=2199023255000 count=3 status=none) = end" ||
  fail "the 2 TiB file differs"
rm "$volume/huge"

(while :; do head -c 50000 /dev/zero | tr '\0' g; done >"$volume/growing") 2>/dev/null &
grower=$!
cleanup_fn kill_and_wait $grower
copy_of "$volume" --held "stat -c %s $volume/growing >$WORK/size" --then "stat -c %s \$IMAGE/growing >$WORK/copied; tr -d g <\$IMAGE/growing | wc -c >$WORK/others" ||
  fail "no copy while a file grows"
kill_and_wait $grower
[ "$(cat "$WORK/size")" = "$(cat "$WORK/copied")" ] || fail "the growing file has $(cat "$WORK/copied") bytes, under the hold $(cat "$WORK/size")"
[ "$(cat "$WORK/others")" = 0 ] || fail "the growing file has holes"
rm "$volume/growing"

# 40 MiB appear between the last round and the hold, once: the second try finds them copied.
copy_of "$volume" --precommitted "test -e $volume/late || head -c 40M /dev/urandom >$volume/late" --then "$SAME_TREE $volume \$IMAGE" || fail "the copy with late changes differs"
[ "$(grep -c '^hold_ms' "$WORK/drive")" = 2 ] || fail "the hold was not tried again"
# A large file that changes all the time costs its reading and what changed.
copy_of "$volume" --precommitted "printf x | dd of=$volume/late bs=1 seek=20000000 conv=notrunc status=none" --then "$SAME_TREE $volume \$IMAGE" || fail "the copy differs"
[ "$(grep -c '^hold_ms' "$WORK/drive")" = 1 ] || fail "a change of one byte did not fit into memory"
nothing_left
