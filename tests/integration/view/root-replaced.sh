#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test shadows "/": programs find the shadow copy as their root, with /proc, /sys, /dev and every other mount in its
# place; in a namespace with a small root of its own, and in a chroot, whose root is no mount at all.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/view.sh"
requires_root
requires_program jq fsfreeze losetup pivot_root unshare

make_volume root ext4 64M
R=$WORK/root
mkdir -p "$R"/{usr,proc,sys,dev,run,tmp,etc,old,mnt,store,build,data/part,vol,keep}
for l in bin sbin lib lib64; do [ -e "/usr/$l" ] && ln -s "usr/$l" "$R/$l"; done
# For the sanitizers' run as well: what /etc has the loader needs.
[ -e /etc/ld.so.cache ] && cp /etc/ld.so.cache "$R/etc/"
for f in etc/file data/part/file keep/file; do echo old >"$R/$f"; done
freeze_image root
for f in etc/file data/part/file keep/file; do echo new >"$R/$f"; done
mkdir "$R/too-late"

# inside COMMAND: a shell command in a mount namespace whose root is the volume; the image lies elsewhere, on /store
cat >"$WORK/enter.sh" <<'END'
set -e
mount --make-rprivate /
cd "$R"
mount --bind /usr usr
mount --bind "$WORK" store
mount --bind "$BUILD" build
for m in proc sys dev; do mount --rbind "/$m" "$m"; done
mount -t tmpfs none tmp
mount -t tmpfs none run
mount -t tmpfs none too-late
pivot_root . old
cd /
umount -l old
mount --bind /data/part /mnt
exec /bin/sh -c "$1"
END
export R WORK BUILD
inside() { unshare --mount bash "$WORK/enter.sh" "$1"; }
jq -n '[{mount_point: "/", view: {kind: "image", path: "/store/root.shadow", filesystem: "ext4", sector_bytes: 512}}]' >"$WORK/plan"
run="/build/tests/view-run /store/plan"
# expect_said TEXT COMMAND
expect_said() {
  local said
  said=$(inside "$2" 2>"$WORK/errors") || fail "status $? of: $2: $(cat "$WORK/errors")"
  [ "$said" = "$1" ] || fail "'$said' instead of '$1' from: $2"
}

expect_said "new" "cat /etc/file"
expect_said "old old old" "$run -- sh -c 'echo \$(cat /etc/file /data/part/file /mnt/file)'"
grep -q "too-late' cannot be seen" "$WORK/errors" || fail "no warning about the mount point that the shadow copy does not have"
expect_said "old new" "$run --keep /keep -- sh -c 'echo \$(cat /etc/file /keep/file)'"
expect_said "/data" "cd /data && $run -- /bin/pwd"
# The kernel's list of mounts is that of the new root: each place once.
expect_said "1 1 1" "$run -- sh -c 'echo \$(grep -c \" / ext4 ro,\" /proc/self/mounts) \$(grep -c \" /proc proc \" /proc/self/mounts) \$(grep -c \" /tmp \" /proc/self/mounts)'"
expect_said "0" "$run -- sh -c 'cut -d\" \" -f5 /proc/self/mountinfo | sort | uniq -d | grep -vc ^/dev | cat'"
expect_said "refused written" "$run -- sh -c 'touch /etc/x 2>/dev/null || echo \$(echo refused; echo written >/tmp/x; cat /tmp/x)'"
expect_said "null" "$run -- sh -c 'echo x >/dev/null && test -d /sys/kernel && test -d /proc/self && echo null'"
# By descriptor and by "..", too, the live root is out of reach.
expect_said "old" "cd /data && $run -- sh -c 'cat /proc/self/cwd/../etc/file'"
expect_said "old" "$run -- cat /proc/self/root/etc/file"
expect_said "3" "$run -- sh -c 'exit 3'; echo \$?"
expect_gone "$WORK/root.shadow"

# A chroot: its root is a directory like any other, so only what is mounted in it can be shadowed.
make_volume vol ext4 64M
echo old >"$WORK/vol/file"
freeze_image vol
echo new >"$WORK/vol/file"
mkdir -p "$WORK/cage"/{usr,proc,sys,dev,tmp,store,build,vol}
for l in bin sbin lib lib64; do [ -e "/usr/$l" ] && ln -s "usr/$l" "$WORK/cage/$l"; done
jq -n '[{mount_point: "/vol", view: {kind: "image", path: "/store/vol.shadow", filesystem: "ext4", sector_bytes: 512}}]' >"$WORK/plan"
cat >"$WORK/enter.sh" <<'END'
set -e
mount --make-rshared /
cd "$WORK/cage"
mount --bind /usr usr
mount --bind "$WORK" store
mount --bind "$BUILD" build
mount --bind "$WORK/vol" vol
for m in proc sys dev; do mount --rbind "/$m" "$m"; done
grep "$WORK" /proc/self/mountinfo >"$WORK/before"
status=0
chroot . /bin/sh -c "$1" || status=$?
grep "$WORK" /proc/self/mountinfo | diff "$WORK/before" - >&2 || exit 9
exit $status
END
expect_said "old" "cd /vol; $run -- cat file"
expect_said "caged" "cd /vol; $run -- sh -c 'test -e /store && test ! -e /etc && test ! -e /../etc && echo caged'"
expect_gone "$WORK/vol.shadow"
