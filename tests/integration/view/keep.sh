#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test keeps paths live inside a shadowed volume: directories, files, what is mounted below, relative names and symlinks.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup

make_volume vol ext4 64M
mkdir -p "$WORK/vol/repository/inner" "$WORK/vol/data" "$WORK/vol/data/nested" "$WORK/outside"
for f in file repository/file data/file data/single; do echo old >"$WORK/vol/$f"; done
ln -s repository "$WORK/vol/link"
freeze_image vol
for f in file repository/file data/file data/single; do echo new >"$WORK/vol/$f"; done
mkdir "$WORK/vol/too-late"
mount -t tmpfs none "$WORK/vol/repository/inner"
echo inner >"$WORK/vol/repository/inner/file"
mount -t tmpfs none "$WORK/vol/data/nested"
mkdir "$WORK/vol/data/nested/below"
plan "$(image_plan vol ext4)"

# expect_shown "FILE=WORD …" OPTION...: what the program reads
expect_shown() {
  local wanted=$1 pair; shift
  for pair in $wanted; do
    [ "$(view_run "$@" -- cat "$WORK/vol/${pair%=*}")" = "${pair#*=}" ] || fail "$pair does not hold with: $*"
  done
}
expect_shown "file=old repository/file=old data/file=old repository/inner/file=inner"
expect_shown "file=old repository/file=new data/file=old repository/inner/file=inner" --keep "$WORK/vol/repository"
expect_shown "file=old repository/file=new data/file=old repository/inner/file=inner" --keep "$WORK/vol/link"
expect_shown "data/single=new data/file=old repository/file=old" --keep "$WORK/vol/data/single"
expect_shown "data/single=new data/file=old repository/file=new" --keep "$WORK/vol/data/single" --keep "$WORK/vol/repository"
expect_shown "repository/file=new file=new" --keep "$WORK/vol"
# Live anyway: no harm.
expect_shown "file=old repository/inner/file=inner" --keep "$WORK/outside" --keep "$WORK/vol/repository/inner" \
  --keep "$WORK/vol/data/nested/below"
(cd "$WORK/vol" && [ "$(view_run --keep repository -- cat repository/file)" = new ]) || fail "a relative path is not kept"

view_run --keep "$WORK/vol/repository" -- sh -c "echo written >'$WORK/vol/repository/written'"
[ "$(cat "$WORK/vol/repository/written")" = written ] || fail "the kept directory cannot be written"

expect_status 125 view_run --keep "$WORK/vol/no-such" -- true
expect_output "keeping '.*/no-such' live: No such file"
expect_status 125 view_run --keep "$WORK/vol/too-late" -- true
expect_output "showing '.*/too-late': its place in the shadow copy of '$WORK/vol'"
expect_gone "$WORK/vol.shadow"
