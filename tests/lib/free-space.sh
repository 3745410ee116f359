# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by tests of cow/free-space: filesystems with holes, and what others say of their free space.
# shellcheck shell=bash
requires_root
requires_program python3 fsfreeze
SHOW=$BUILD/tests/free-space-show

cat >"$WORK/churn.py" <<'END'
# churn.py DIRECTORY FILES_MAX [ROUNDS]: makes, extends, cuts and removes files; for ever without ROUNDS
import os, random, sys
directory, files_max, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None
rng, done = random.Random(5), 0
os.makedirs(directory, exist_ok=True)
while rounds is None or done < rounds:
    done += 1
    path = f"{directory}/{rng.randrange(files_max)}"
    choice = rng.randrange(4)
    try:
        if choice == 0:
            os.unlink(path)
        elif choice == 1:
            os.truncate(path, rng.randrange(50000))
        else:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.pwrite(fd, rng.randbytes(rng.randrange(60000)), rng.randrange(3) * 50000)
            if rng.randrange(20) == 0:
                os.fsync(fd)
            os.close(fd)
    except FileNotFoundError:
        pass
END

# new_volume FSTYPE SIZE [MKFS OPTION...]: mounted at $VOLUME over $VOLUME.img by a loop device that goes with the mount
volumes=0
new_volume() {
  local type=$1 size=$2; shift 2
  # A name of its own: mount reuses a loop device over the same file that is still on its way out.
  volumes=$((volumes + 1))
  VOLUME=$WORK/volume-$volumes
  truncate -s "$size" "$VOLUME.img"
  case $type in
    xfs) mkfs.xfs -q -f "$@" "$VOLUME.img" ;;
    *) "mkfs.$type" -q -F "$@" "$VOLUME.img" 2>"$WORK/mkfs" || { cat "$WORK/mkfs" >&2; fail "mkfs.$type $*"; } ;;
  esac
  mkdir "$VOLUME"
  cleanup_fn umount "$VOLUME"
  mount -t "$type" -o loop "$VOLUME.img" "$VOLUME"
}

# end_volume: unmounts it and waits until nobody has it mounted any more: a mount namespace that another test made meanwhile may
loop_gone() { [ -z "$(losetup -j "$1")" ]; }
end_volume() {
  umount "$VOLUME"
  wait_for 60 loop_gone "$VOLUME.img" || fail "somebody still has $VOLUME mounted"
}

# same_ranges WHAT: the ranges in $WORK/ours and $WORK/theirs are the same, and there are some
same_ranges() {
  [ "$(wc -l <"$WORK/theirs")" -ge 2 ] || fail "$1: there is hardly anything to compare"
  cmp "$WORK/ours" "$WORK/theirs" || { diff "$WORK/ours" "$WORK/theirs" | head -n 20 >&2; fail "$1: the free ranges differ"; }
}

# ranges_of_dumpe2fs IMAGE: "OFFSET LENGTH" of each free range, neighbours joined
ranges_of_dumpe2fs() {
  dumpe2fs "$1" 2>/dev/null | python3 -c '
import re, sys
size, cluster, ranges = 0, 0, []
for line in sys.stdin:
    if line.startswith("Block size:"):
        size = cluster = int(line.split()[-1])
    if line.startswith("Cluster size:"):
        cluster = int(line.split()[-1])
    if line.startswith("Block count:"):
        blocks = int(line.split()[-1])
    if line.startswith("  Free blocks: "):
        for word in line.split(": ")[1].replace(",", " ").split():
            first, last = (word.split("-") * 2)[:2]
            # A range ends with the first block of its last cluster; in e2fsprogs 1.47.2 with the last one.
            first, end = int(first), min((int(last) * size // cluster + 1) * cluster // size, blocks)
            if ranges and ranges[-1][1] == first:
                ranges[-1][1] = end
            else:
                ranges.append([first, end])
for first, end in ranges:
    print(first * size, (end - first) * size)'
}

# ranges_of_xfs_db IMAGE: the same of an XFS that nobody uses. xfs_db lists each group's free list first, which is in no tree.
ranges_of_xfs_db() {
  local group groups
  groups=$(xfs_db -r -c 'sb 0' -c 'p agcount' "$1" | sed 's/.*= //')
  {
    xfs_db -r -c 'sb 0' -c 'p blocksize agblocks' "$1"
    for ((group = 0; group < groups; group++)); do xfs_db -r -c "agf $group" -c 'p flcount' "$1" | sed "s/^/$group /"; done
    xfs_db -r -c 'freesp -d' "$1"
  } | python3 -c '
import re, sys
values, listed, ranges = {}, {}, []
for line in sys.stdin:
    if m := re.match(r"(\w+) = (\d+)", line):
        values[m[1]] = int(m[2])
    elif m := re.match(r"(\d+) flcount = (\d+)", line):
        listed[int(m[1])] = int(m[2])
    elif m := re.match(r"\s*(\d+)\s+(\d+)\s+(\d+)\s*$", line):
        group, block, count = int(m[1]), int(m[2]), int(m[3])
        if listed[group] > 0:
            listed[group] -= 1
        else:
            ranges.append((group * values["agblocks"] + block, count))
joined = []
for first, count in ranges:
    if joined and sum(joined[-1]) == first:
        joined[-1][1] += count
    else:
        joined.append([first, count])
for first, count in joined:
    print(first * values["blocksize"], count * values["blocksize"])'
}
