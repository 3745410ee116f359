#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test mounts shadow copies where everybody sees them and unmounts them again: nosuid and nodev unless asked for, nested
# trees along with them, busy ones refused, and a writable one that leaves the volume alone.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup findmnt setpriv

make_volume vol ext4 64M
cp /usr/bin/id "$WORK/vol/id"
chmod 4755 "$WORK/vol/id"
mknod "$WORK/vol/null" c 1 3
chmod 755 "$WORK" "$WORK/vol"
freeze_image vol
mkdir "$WORK/at"
chmod 755 "$WORK/at"
cleanup_fn umount -R "$WORK/at"
# record OPTION...: $WORK/record from the image, with these options on
record() {
  image_plan vol ext4 | jq '{view: .view} + ($ARGS.positional | map({(.): true}) | add // {})' --args "$@" >"$WORK/record"
}
attach() { expect_status 0 "$VIEW_RUN" --attach "$WORK/record" "$WORK/at"; }
detach() { expect_status 0 "$VIEW_RUN" --detach "$WORK/at"; expect_gone "$WORK/vol.shadow"; }
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

record
attach
[ "$(cat "$WORK/output")" = "$(loops_of "$WORK/vol.shadow")" ] || fail "the device it names is another"
[ "$(as_nobody "$WORK/at/id" -u)" = 65534 ] || fail "a set-user-ID program works in a shadow copy"
cat "$WORK/at/null" 2>/dev/null && fail "a device node works in a shadow copy"
touch "$WORK/at/x" 2>/dev/null && fail "a shadow copy can be written"
exec 5<"$WORK/at/id"
expect_status 125 "$VIEW_RUN" --detach "$WORK/at"
expect_output "unmounting '$WORK/at': process $$ \\(mount.sh\\) still uses it"
exec 5<&-
detach
expect_status 125 "$VIEW_RUN" --detach "$WORK/at"
expect_output "nothing is mounted there"

record suid dev
attach
[ "$(as_nobody "$WORK/at/id" -u)" = 0 ] || fail "--suid does not"
cat "$WORK/at/null" || fail "--dev does not"
detach

cp "$WORK/vol.shadow" "$WORK/untouched"
record read_write
attach
echo changed >"$WORK/at/new"
detach
[ -e "$WORK/vol/new" ] && fail "writing to the shadow copy reached the volume"
cmp -s "$WORK/vol.shadow" "$WORK/untouched" && fail "a writable shadow copy was not written"
record
attach
[ "$(cat "$WORK/at/new")" = changed ] || fail "what was written to the shadow copy is lost"
detach

# Held only by a descriptor: not in the list of mounts, gone when its process is killed.
mkfifo "$WORK/hold"
exec 6<>"$WORK/hold"
"$VIEW_RUN" --open "$WORK/record" <&6 >"$WORK/device" &
PID=$!
cleanup_fn kill_and_wait "$PID"
wait_for 10 test -s "$WORK/device" || fail "no view"
[ "$(cat "$WORK/device")" = "$(loops_of "$WORK/vol.shadow")" ] || fail "no loop device behind the view"
findmnt -n "$(cat "$WORK/device")" && fail "the view is mounted where everybody sees it"
kill -KILL "$PID"
expect_gone "$WORK/vol.shadow"
exec 6>&-

# Nested trees come and go with the tree they belong to.
mkdir -p "$WORK/tree/a/b" "$WORK/inner" "$WORK/innermost/c"
echo inner >"$WORK/inner/file"
mkdir "$WORK/inner/deep"
echo innermost >"$WORK/innermost/c/file"
tree_plan - "$WORK/tree" a/b "$WORK/inner" a/b/deep "$WORK/innermost" | jq '{view: .view}' >"$WORK/record"
attach
[ "$(cat "$WORK/at/a/b/file" "$WORK/at/a/b/deep/c/file")" = $'inner\ninnermost' ] || fail "nested trees are not shown"
touch "$WORK/at/a/b/deep/c/x" 2>/dev/null && fail "a nested tree can be written"
mount -t tmpfs none "$WORK/tree/a"
[ -e "$WORK/at/a/b" ] || fail "what is mounted on the original later shows in the view"
umount "$WORK/tree/a"
detach
[ -z "$(ls -A "$WORK/at")" ] || fail "something is still mounted"

# Many at once fight for loop devices; all get one.
record
pids=()
for i in $(seq 20); do "$VIEW_RUN" --open "$WORK/record" </dev/null >"$WORK/device.$i" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || fail "one of many got no loop device"; done
expect_gone "$WORK/vol.shadow"
