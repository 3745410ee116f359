#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches a volume in a memory cgroup that is too small for what is then written to it from there: dirty pages of the volume can only
# be written back by a server that needs memory itself. (In cgroup v1 a server that stays in the group hangs for good.) Everything goes on: no
# deadlock (the time limit is the only judge of that), no killed process, every byte right, shadow copies what they were. PASSES times.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/attached.sh"
. "$TOP/tests/lib/cgroup.sh"
requires_root
requires_program fio jq python3

PASSES=${PASSES:-1} LIMIT_BYTES=$((96 << 20)) FILE_MIB=200
create() { "$UMBRA" --json create --no-writers "$WORK/v" | jq -r '.set.shadows[0].id'; }
sum() { dd if="$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt/shadow-$1" bs=1M status=none | sha256sum; }

killed_by_oom() { awk '$1 == "oom_kill" { print $2 }' "$GROUP/memory.oom_control" "$GROUP/memory.events" 2>/dev/null; }

own_group memory memory
if [ "$GROUP_VERSION" = 1 ]; then echo "$LIMIT_BYTES" >"$GROUP/memory.limit_in_bytes"; else echo "$LIMIT_BYTES" >"$GROUP/memory.max"; fi
for type in ext4 xfs; do
  # In the group from the start: what is attached, and its programs.
  echo $$ >"$GROUP/cgroup.procs"
  attached_volume v "$type" 700M --limit 2000000000 --chunk 4096
  for ((pass = 0; pass < PASSES; pass++)); do
    dd if=/dev/urandom of="$WORK/v/before" bs=1M count=20 status=none
    first=$(create)
    before=$(sum "$first")
    # Through the page cache, three times what the group may have, mapped and not; then read again and compared.
    for engine in psync mmap; do
      fio --thread --name=pressure --filename="$WORK/v/file" --size=${FILE_MIB}M --rw=randwrite --bs=4k-64k --ioengine=$engine \
        --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --end_fsync=1 --output="$WORK/fio.out" 2>&1 ||
        { cat "$WORK/fio.out" >&2; fail "$type, $engine: fio failed"; }
      between=$(create)
      [ "$(sum "$first")" = "$before" ] || fail "$type, $engine: the shadow copy changed"
      "$UMBRA" --quiet delete "$between"
    done
    "$UMBRA" --quiet delete --all
  done
  unmount_alone "$WORK/v"
  "$UMBRA" detach "$ATTACHED"
  [ "$(killed_by_oom)" = 0 ] || fail "$(killed_by_oom) processes were killed for want of memory"
  if [ "$type" = ext4 ]; then e2fsck -fn "$ORIGIN" >"$WORK/fsck" 2>&1; else xfs_repair -n "$ORIGIN" >"$WORK/fsck" 2>&1; fi ||
    { cat "$WORK/fsck" >&2; fail "$type is damaged"; }
  no_attached_left
  rmdir "$WORK/v"
done
