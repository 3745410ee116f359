#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs a program over a shadow copy: it finds the volume as it was, under the same paths, with the same inodes and
# times, through every window on it, with other filesystems still mounted in it, and can write everywhere else.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup

make_volume vol ext4 64M
echo old >"$WORK/vol/file"
mkdir -p "$WORK/vol/dir/deep" "$WORK/vol/sub" "$WORK/vol/covered" "$WORK/bind" "$WORK/stacked"
echo old >"$WORK/vol/dir/file"
echo hidden >"$WORK/vol/covered/file"
(cd "$WORK/vol" && find . -exec stat -c '%n %i %Z %Y %s' {} + | sort) >"$WORK/before"
freeze_image vol
stat_all='find . -exec stat -c "%n %i %Z %Y %s" {} + | sort'

for f in file dir/file; do echo new >"$WORK/vol/$f"; done
mkdir "$WORK/vol/later"
touch "$WORK/bind-file"
mount -t tmpfs none "$WORK/vol/sub"
echo tmpfs >"$WORK/vol/sub/file"
mkdir "$WORK/vol/sub/again"
mount --bind "$WORK/vol/dir" "$WORK/vol/sub/again"
mount -t tmpfs none "$WORK/vol/sub/again/deep"
echo inner >"$WORK/vol/sub/again/deep/file"
mount -t tmpfs none "$WORK/vol/covered"
mount -t tmpfs none "$WORK/vol/later"
mount --bind "$WORK/vol/dir" "$WORK/bind"
mount --bind "$WORK/vol/file" "$WORK/bind-file"
# Two mounts on one place: the upper one counts, and the hidden one must not come up.
mount --bind "$WORK/vol/dir" "$WORK/stacked"
mount -t tmpfs none "$WORK/stacked"
echo top >"$WORK/stacked/file"
mount -o remount,bind,noexec "$WORK/bind"

plan "$(image_plan vol ext4)"
# expect_line TEXT COMMAND: the program's shell command prints that
expect_line() {
  local said
  said=$(view_run -- sh -c "cd '$WORK'; $2" 2>"$WORK/warnings") || fail "status $? of: $2: $(cat "$WORK/warnings")"
  [ "$said" = "$1" ] || fail "'$said' instead of '$1' from: $2"
}

expect_line old "cat vol/file"
expect_line old "cat vol/dir/file"
expect_line tmpfs "cat vol/sub/file"
expect_line old "cat vol/sub/again/file"
expect_line inner "cat vol/sub/again/deep/file"
expect_line "" "cat vol/covered/file 2>/dev/null; true"
expect_line old "cat bind/file"
expect_line old "cat bind-file"
expect_line top "cat stacked/file"
grep -q "vol/later' cannot be seen" "$WORK/warnings" || fail "no warning about the mount point that is not in the shadow copy"

umount "$WORK/vol/sub/again/deep" "$WORK/vol/sub/again" "$WORK/vol/sub" "$WORK/vol/covered" "$WORK/vol/later"
rmdir "$WORK/vol/later"
view_run -- sh -c "cd '$WORK/vol' && $stat_all" >"$WORK/after" || fail "listing the view"
diff "$WORK/before" "$WORK/after" || fail "names, inodes, ctimes, mtimes or sizes differ"

# One mount for each path, with the loop device as its source: dump and df look there.
expect_line 1 "grep -c ' $WORK/vol ' /proc/self/mounts"
expect_line 1 "grep ' $WORK/vol ' /proc/self/mounts | grep -c '^/dev/loop.* ro,'"

expect_line refused "touch vol/x 2>/dev/null || echo refused"
expect_line refused "touch bind/x 2>/dev/null || echo refused"
expect_line written "echo written >elsewhere; cat elsewhere"
[ "$(cat "$WORK/elsewhere")" = written ] || fail "what the program wrote elsewhere is not there"
cp /bin/true "$WORK/vol/dir/program"
freeze_image vol
expect_line 0 "vol/dir/program; echo \$?"
expect_line 126 "bind/program 2>/dev/null; echo \$?"

# Nothing of it can be seen outside, while it runs and afterwards, even where every mount is shared (as systemd has it); and
# what is mounted outside meanwhile comes in.
cat >"$WORK/outside.sh" <<'END'
set -e
mount --make-rshared /
grep "$WORK" /proc/self/mountinfo >"$WORK/outside"
"$VIEW_RUN" "$WORK/plan" -- sh -c "cat /proc/$$/mountinfo" | grep "$WORK" | diff "$WORK/outside" -
mkdir "$WORK/comes-in"
mkfifo "$WORK/go"
"$VIEW_RUN" "$WORK/plan" -- sh -c "read -r go <'$WORK/go'; cat '$WORK/comes-in/file'" >"$WORK/said" &
exec 5>"$WORK/go"
mount -t tmpfs none "$WORK/comes-in"
echo came-in >"$WORK/comes-in/file"
echo go >&5
wait $!
umount "$WORK/comes-in"
grep "$WORK" /proc/self/mountinfo | diff "$WORK/outside" -
END
export WORK VIEW_RUN
unshare --mount bash "$WORK/outside.sh" || fail "the private namespace is not cut off from the other, or too much"
[ "$(cat "$WORK/said")" = came-in ] || fail "a later mount outside did not come in"
[ "$(cat "$WORK/vol/file")" = new ] || fail "the live file was changed"
expect_gone "$WORK/vol.shadow"
