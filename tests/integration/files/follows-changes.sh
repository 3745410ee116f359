#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test renames, replaces, links, unlinks, grows and empties files and directories between the rounds and right before the hold, on ext4
# and XFS, and finds the copy equal to the live tree each time: also when a directory becomes a file and the reverse.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program mkfs.xfs rsync

cat >"$WORK/start" <<'END'
set -e; cd "$1"
mkdir -p tree/a/b/c other dir-to-file swapped1 swapped2 kept/deep
for i in $(seq 200); do echo "$i" >"tree/a/b/c/f$i"; echo "$i" >"other/$i"; done
echo was-file >file-to-dir; echo x >dir-to-file/x; echo one >swapped1/f; echo two >swapped2/f; mkdir swapped1/sub; echo s >swapped1/sub/s
echo one >one; echo two >two; echo three >group1; ln group1 group2; ln group1 kept/deep/group3
mkdir -p calm0/in; echo calm >calm; ln calm calm0/in/calm; echo solo >solo; echo grow >growing; head -c 300000 /dev/urandom >shrinking; head -c 3000000 /dev/urandom >big
ln -s one symlink; mkfifo pipe; echo file >becomes-pipe; ln pipe pipe2
END
cat >"$WORK/change" <<'END'
set -e; cd "$1"; n=$2
rm -rf "moved$n"; mv tree "moved$n"; mkdir -p tree/a; mv "moved$n/a/b" tree/a/b; echo new >"tree/a/b/c/new$n"
if [ -f file-to-dir ]; then rm file-to-dir; mkdir -p file-to-dir/d; echo d >file-to-dir/d/d; else rm -r file-to-dir; echo file >file-to-dir; fi
if [ -d dir-to-file ]; then rm -r dir-to-file; echo f >dir-to-file; else rm dir-to-file; mkdir dir-to-file; echo y >dir-to-file/y; fi
mv swapped1 t; mv swapped2 swapped1; mv t swapped2
mv one t; mv two one; mv t two
rm -f group2; echo alone >group2; ln -f solo "solo-again$n"; ln -f group1 "linked$n"
echo more >>growing; truncate -s 1000 shrinking
printf changed | dd of=big bs=1 seek=$((n * 700000)) conv=notrunc status=none
mv calm[0-9] c; mv c "calm$n"
fallocate -p -o 65536 -l 65536 big
ln -sfn two symlink; rm becomes-pipe; if [ "$n" = 1 ]; then mkfifo becomes-pipe; else echo file >becomes-pipe; fi
rm -f "other/$n"; chmod 0705 kept; setfattr -n user.n -v "$n" "other/7$n"; chown "$n:$n" pipe
rm -rf "new$n"; mkdir -p "new$n/deep/er"; cp -a other "new$n/deep/er/"; touch -d "2011-01-0$n" "new$n"
rm -rf "moved$((n - 1))"
END

settled() { [ -z "$(find "$volume" -newerct '3 seconds ago')" ]; }
for type in ext4 xfs; do
  make_volume "$type" $type 300M
  volume=$WORK/$type
  bash "$WORK/start" "$volume"
  for n in 1 3 5; do
    copy_of "$volume" --named --prepared "bash $WORK/change $volume $n" --precommitted "bash $WORK/change $volume $((n + 1))" \
      --then "$SAME_TREE $volume \$IMAGE" || fail "$type: the copy differs after changes $n"
    # What is kept is changed once more before the next set takes it over.
    rm -rf "$volume/moved$((n + 1))"
    bash "$WORK/change" "$volume" 9
  done
  [ -n "$(find "$STORAGE" -maxdepth 1 -name 'kept-*')" ] || fail "$type: nothing was kept"

  # Renamed away before one hold and back before the next: nothing about the files themselves tells of it, and the copy has others there.
  rm -rf "${volume:?}"/*
  mkdir -p "$volume/d/e" "$volume/gone/x"; for i in 1 2 3; do echo "$i" >"$volume/d/$i"; echo "$i" >"$volume/d/e/$i"; echo "$i" >"$volume/gone/x/$i"; done
  echo file >"$volume/file"; echo linked >"$volume/l1"; ln "$volume/l1" "$volume/d/l2"
  copy_of "$volume" --named --precommitted "cd $volume && mv d away && mkdir -p d/e && echo other >d/1 && echo other >d/e/9 && mv file file-away && echo other >file &&
    mv gone /$volume/gone2 && mkdir new && echo n >new/stale && ln file new/link && mv l1 l1-away && cp file l1" --then "$SAME_TREE $volume \$IMAGE" || fail "$type: the copy differs"
  (cd "$volume" && rm -r d && mv away d && rm file && mv file-away file && mv gone2 gone && rm new/* && echo fresh >new/link && rm l1 && mv l1-away l1)
  # Nothing is left in doubt because it is so new.
  wait_for 30 settled || fail "files stay new"
  copy_of "$volume" --named --then "$SAME_TREE $volume \$IMAGE" || fail "$type: what was renamed back differs"
done
