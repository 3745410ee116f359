#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test saves files and directories with flags (chattr) on ext4, XFS and btrfs, and expects them back: in a fresh root and over what
# is there and locked, hard links and deletions among them; no failure where a flag cannot be had; and GNU tar to extract the archive.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 jq chattr setpriv zstd tar mkfs.ext4 mkfs.xfs mkfs.btrfs

# flags DIRECTORY: the flags that a backup keeps, one line a file
flags() {
  python3 - "$1" <<'END'
import fcntl, os, sys
KEPT = 0x10 | 0x20 | 0x40 | 0x80 | 0x08 | 0x10000 | 0x800000
for top, directories, files in os.walk(sys.argv[1]):
    directories.sort()
    for name in ["."] + sorted(files):
        path = os.path.join(top, name)
        fd = os.open(path, os.O_RDONLY)
        word = int.from_bytes(fcntl.ioctl(fd, 0x80086601, bytes(8))[:4], "little")
        os.close(fd)
        print(os.path.relpath(path, sys.argv[1]), hex(word & KEPT))
END
}
same_flags() { diff <(flags "$1") <(flags "$2") >"$WORK/flags.diff" || { cat "$WORK/flags.diff" >&2; fail "the flags of '$1' and '$2' differ"; }; }
unlock() { chattr -R -f -i -a "$@" || true; }

for type in ext4 xfs btrfs; do
  make_volume $type $type 320M
  tree=$WORK/$type/tree out=$WORK/$type/out
  mkdir -p "$tree/locked/sub" "$tree/appended" "$tree/plain" "$tree/cow"
  for f in immutable append nodump noatime sync large locked/in locked/sub/deep appended/in plain/goes plain/stays; do
    head -c 5000 /dev/urandom >"$tree/$f"
  done
  head -c 1000000 /dev/urandom >"$tree/large"
  ln "$tree/immutable" "$tree/plain/hard"
  [ $type != btrfs ] || chattr +C "$tree/cow"
  head -c 400000 /dev/urandom >"$tree/cow/large"
  echo small >"$tree/cow/small"
  chattr +d "$tree/nodump"
  chattr +A "$tree/noatime"
  chattr +S "$tree/sync"
  chattr +id "$tree/immutable"
  chattr +a "$tree/append" "$tree/appended"
  chattr +i "$tree/large" "$tree/locked/in" "$tree/plain/goes" "$tree/locked/sub" "$tree/locked"
  cleanup_fn unlock "$tree"
  [ "$(flags "$tree" | grep -vc ' 0x0$')" -ge 12 ] || fail "$type: the test's tree has too few flags: $(flags "$tree")"
  rm -rf "$WORK/target"
  full=$(live full "$tree")
  restore() { "$UMBRA" --quiet restore "$WORK/target@$1" --to "$out" >"$WORK/said" 2>&1 || { cat "$WORK/said"; fail "$type: restoring $1 failed"; }; }
  check() {
    same_trees "$tree" "$out$tree"
    same_flags "$tree" "$out$tree"
    ! grep -i attributes "$WORK/said" || fail "$type: not everything is back"
  }
  restore "$full"
  cleanup_fn unlock "$out"
  check
  # Once more, over what is locked now; and with more locked than was saved.
  chattr +i "$out$tree/plain/stays" "$out$tree/plain"
  restore "$full"
  check
  "$UMBRA" --quiet verify "$WORK/target" >"$WORK/said" || fail "$type: verify failed"

  # Flags alone, and what was locked and is gone. The times of directories change with it.
  chattr -i "$tree/plain/goes" "$tree/large"
  rm "$tree/plain/goes"
  chattr +i "$tree/plain/stays"
  incremental=$(live incremental "$tree")
  restore "$incremental"
  [ ! -e "$out$tree/plain/goes" ] || fail "$type: a locked file that was deleted is still there"
  check

  # Not allowed to lock: all is back but that, which is said.
  status=0
  setpriv --bounding-set -linux_immutable "$UMBRA" --quiet restore "$WORK/target@$full" --to "$WORK/$type/unlocked" >"$WORK/said" 2>&1 || status=$?
  [ $status = 0 ] || { cat "$WORK/said"; fail "$type: without the capability the restore ended with $status"; }
  grep -q attributes "$WORK/said" || { cat "$WORK/said"; fail "$type: nothing is said of the flags"; }
  diff <(flags "$tree" | grep -v plain/ | awk '{ print $1 }') <(flags "$WORK/$type/unlocked$tree" | grep -v plain/ | awk '{ print $1 }') ||
    fail "$type: files are missing"

  mkdir "$WORK/$type/tar"
  zstd -dcq "$WORK/target/$full/files.tar.zst" | tar --numeric-owner -xpf - -C "$WORK/$type/tar" 2>"$WORK/tar.log" || { cat "$WORK/tar.log"; fail "$type: tar failed"; }
  ! grep -v "SCHILY.fflags" "$WORK/tar.log" || fail "$type: GNU tar complains"
  cmp "$tree/locked/sub/deep" "$WORK/$type/tar$tree/locked/sub/deep" || fail "$type: tar's file differs"
done

# To a filesystem that does not know all of them: the others are set.
"$UMBRA" --quiet restore "$WORK/target" --to "$WORK/ext4/from-btrfs" >"$WORK/said" 2>&1 || { cat "$WORK/said"; fail "restoring to ext4 failed"; }
cleanup_fn unlock "$WORK/ext4/from-btrfs"
grep -q attributes "$WORK/said" || { cat "$WORK/said"; fail "a flag that ext4 does not have is not mentioned"; }
lsattr -d "$WORK/ext4/from-btrfs$tree/immutable" | grep -q '^[^ ]*i[^ ]*d' || fail "the others are not set"

# Through shadow copies: one of the device has the flags, a copy of the files has those of its own place, which mean nothing.
make_volume storage ext4 200M
chattr +d "$WORK/storage"
tree=$WORK/ext4/tree
"$UMBRA" --quiet backup "$tree" --no-writers --provider clone --storage "$WORK/storage" --to "$WORK/by-clone" || fail "no backup by clone"
"$UMBRA" --quiet restore "$WORK/by-clone" --to "$WORK/ext4/by-clone" || fail "no restore of it"
cleanup_fn unlock "$WORK/ext4/by-clone"
same_flags "$tree" "$WORK/ext4/by-clone$tree"
"$UMBRA" --quiet backup "$tree" --no-writers --provider files --storage "$WORK/storage" --to "$WORK/by-files" || fail "no backup by files"
"$UMBRA" --quiet restore "$WORK/by-files" --to "$WORK/ext4/by-files" || fail "no restore of it"
! flags "$WORK/ext4/by-files$tree" | grep -v ' 0x0$' || fail "flags of a copy were saved"
