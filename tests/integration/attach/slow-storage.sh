#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives an attached volume storage that takes a few writes a second only: what is written under a shadow copy waits for it, and nothing
# fails; shadow copies are made and deleted meanwhile, and are what the volume was. When what is written needs no copying, nothing waits.
# timeout: 300
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
. "$TOP/tests/lib/cgroup.sh"
requires_root
requires_program fio jq python3

WRITES_A_SECOND=100 SIZE_MIB=16
create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0].id'; }
sum() { dd if="$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$1" bs=1M status=none | sha256sum; }

# slow_group MAJOR:MINOR: a group whose members write slowly to the device
slow_group() {
  own_group blkio io
  if [ "$GROUP_VERSION" = 1 ]; then
    echo "$1 $WRITES_A_SECOND" >"$GROUP/blkio.throttle.write_iops_device"
  else
    echo "$1 wiops=$WRITES_A_SECOND" >"$GROUP/io.max"
  fi
}
# write_all: every 4 KiB of the file, in random order, checked
write_all() {
  fio --thread --name=on --filename="$WORK/v/data" --size=${SIZE_MIB}M --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 --direct=1 \
    --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --output="$WORK/fio.out" || { cat "$WORK/fio.out" >&2; fail "the live volume failed"; }
}

truncate -s 400M "$WORK/slow"
SLOW=$(losetup --find --show --direct-io=on "$WORK/slow")
cleanup_fn losetup -d "$SLOW"
slow_group "$(lsblk -dno MAJ:MIN "$SLOW" | tr -d ' ')"
# Is it slow? A group that is not would make this test one of nothing.
began=$(date +%s%N)
sh -c 'echo $$ >"$1/cgroup.procs" && exec dd if=/dev/zero of="$2" bs=4k count=200 oflag=direct status=none' - "$GROUP" "$SLOW"
[ $(($(date +%s%N) - began)) -ge 1000000000 ] || fail "200 writes are not slow at $WRITES_A_SECOND a second"

# XFS writes nothing of its own for long after it was made, as ext4 does with its inode tables.
attached_volume v xfs 400M --storage "$SLOW" --limit 400000000 --chunk 4096
dd if=/dev/urandom of="$WORK/v/data" bs=1M count=$SIZE_MIB conv=fsync status=none
for pid in $(attached_status "$ATTACHED" supervisor_pid) $(attached_status "$ATTACHED" pid); do echo "$pid" >"$GROUP/cgroup.procs"; done
one=$(create)
first=$(sum "$one")
write_all &
writer=$!
cleanup_fn kill_and_wait "$writer"
for ((n = 0; n < 3; n++)); do
  between=$(create)
  "$UMBRA" --quiet delete "$between"
done
wait "$writer" || fail "writing under shadow copies failed"
copied=$(attached_status "$ATTACHED" chunks_copied)
[ "$copied" -ge $((SIZE_MIB * 256)) ] || fail "only $copied chunks were copied"
[ "$(sum "$one")" = "$first" ] || fail "the shadow copy changed"
write_all
[ "$(attached_status "$ATTACHED" chunks_copied)" -lt $((copied + 512)) ] || fail "what was copied is copied again"
"$UMBRA" --quiet delete --all
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
xfs_repair -n "$ORIGIN" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the volume is damaged"; }
no_attached_left
