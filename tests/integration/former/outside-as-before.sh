#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs former programs on the live volume, outside, while a set of it is being made and held open: they work as before, wait for nobody, and
# see the live files.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/fault.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program tar rsync cpio restic borg rdiff-backup

make_volume v ext4 128M
make_tree "$WORK/v/tree"
fault_setup
# The coordinator is stopped in the middle of its long work, and again with the writers frozen; between them it goes on.
mkdir "$WORK/out" "$WORK/home"
export HOME=$WORK/home XDG_CACHE_HOME=$WORK/home/cache RESTIC_REPOSITORY=$WORK/out/restic RESTIC_PASSWORD=none BORG_REPO=$WORK/out/borg
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
restic --quiet init
borg init -e none
for step in provider:prepare provider:postcommit; do
  fault_at "$step" STOP
  start_set v
  wait_for 20 struck || fail "$step was never reached: $(cat "$WORK/create.err")"
  echo "$step" >"$WORK/v/tree/live"
  rm -rf "$WORK"/out/{tar,rsync,cpio,x,mirror}
  mkdir "$WORK"/out/{tar,cpio,x}
  "$MANIFEST" "$WORK/v/tree" >"$WORK/seen"
  outside() { timeout 60 "$@" || fail "while $step: '$*' failed ($?)"; }
  outside tar --format=pax -C "$WORK/v/tree" -cf "$WORK/out/tree.tar" . && tar -C "$WORK/out/tar" -xpf "$WORK/out/tree.tar"
  outside rsync -aH "$WORK/v/tree/" "$WORK/out/rsync/"
  outside bash -c "cd '$WORK/v/tree' && find . -mindepth 1 -depth -print0 | cpio -o0 -H newc --quiet >'$WORK/out/cpio.archive'"
  outside restic --quiet backup "$WORK/v/tree"
  outside borg create "::$RANDOM$RANDOM" "$WORK/v/tree"
  outside rdiff-backup backup "$WORK/v/tree" "$WORK/out/mirror"
  restic --quiet restore latest --target "$WORK/out/x"
  (cd "$WORK/out/cpio" && cpio -idm --quiet <"$WORK/out/cpio.archive")
  for got in "$WORK/out/tar" "$WORK/out/rsync" "$WORK/out/x$WORK/v/tree"; do
    "$MANIFEST" "$got" | diff "$WORK/seen" - >"$WORK/difference" || { head -n 5 "$WORK/difference"; fail "while $step: $got is not the live tree"; }
  done
  diff -r "$WORK/v/tree" "$WORK/out/cpio" || fail "while $step: cpio saved something else"
  kill -CONT "$PID"
  wait "$PID" || fail "the set came to nothing: $(cat "$WORK/create.err")"
  "$UMBRA" delete "$(jq -r .set.id "$WORK/create")"
done
nothing_left v
