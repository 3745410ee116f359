#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test asks umbra doctor about volumes of many kinds and checks the words and the exit status an admin gets.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 mkfs.xfs mkfs.btrfs

# examine PATH: $WORK/told is the text, $WORK/json the document, STATUS the exit status
examine() {
  STATUS=0
  "$UMBRA" --json doctor "$1" >"$WORK/json" 2>"$WORK/messages" || STATUS=$?
  "$UMBRA" doctor "$1" >"$WORK/told" 2>&1 || true
}
get() { jq -r ".volumes[0] | $1" "$WORK/json"; }
expect() { [ "$(get "$1")" = "$2" ] || fail "$1 is '$(get "$1")' and not '$2': $(cat "$WORK/json")"; }
told() { grep -qF -- "$1" "$WORK/told" || fail "'$1' is not in: $(cat "$WORK/told")"; }
can() { get ".providers[] | select(.name == \"$1\") | .can"; }

make_volume e ext4 48M
examine "$WORK/e"
[ "$STATUS" = 0 ] || fail "status $STATUS"
expect .mount_point "$WORK/e"
expect .filesystem ext4
expect .device "$DEVICE"
expect .size_bytes $((48 * 1024 * 1024))
expect .freeze.can true
expect .tracking.can true
expect .provider clone
[ "$(can btrfs)" = false ] && [ "$(can null)" = true ] && [ "$(can files)" = true ] || fail "providers: $(get .providers)"
told "loop device $DEVICE over the file '$WORK/e.img'"
told "it is ext4 and not btrfs"

mount -o remount,ro "$WORK/e"
examine "$WORK/e"
expect .read_only true
told "it is read-only"

make_volume x xfs 320M
examine "$WORK/x"
expect .provider clone

make_volume b btrfs 128M 2>/dev/null
examine "$WORK/b"
expect .provider btrfs
told "a btrfs snapshot holds all that was fsynced before it"

mkdir "$WORK/t" "$WORK/ov" "$WORK/upper" "$WORK/work"
cleanup_fn umount "$WORK/t"
mount -t tmpfs none "$WORK/t"
examine "$WORK/t"
expect .freeze.can false
expect .provider files
expect .device null
told "tmpfs lives in memory and cannot be frozen"
told "one instant only if nothing changes"

if grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null; then
  cleanup_fn umount "$WORK/ov"
  mount -t overlay overlay -o "lowerdir=$WORK/t,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/ov"
  examine "$WORK/ov"
  told "name '$WORK/upper' instead, its upper directory on the"
fi

# An executable of a third party comes first, and its own words are told.
mkdir -p "$UMBRA_CONFIG_DIR/providers.d" "$UMBRA_CONFIG_DIR/script"
cp "$TOP/tests/lib/scripted-provider" "$UMBRA_CONFIG_DIR/providers.d/array"
echo 'echo "{\"can\": false, \"why\": \"LUN 7 is not ours\"}"; exit 0' >"$UMBRA_CONFIG_DIR/script/can"
examine "$WORK/x"
expect .provider clone
told "array says: LUN 7 is not ours"
chmod 777 "$UMBRA_CONFIG_DIR/providers.d/array"
examine "$WORK/x"
told "'$UMBRA_CONFIG_DIR/providers.d/array' is not run: others than its owner may write to it"
chmod 755 "$UMBRA_CONFIG_DIR/providers.d/array"
rm "$UMBRA_CONFIG_DIR/script/can"
examine "$WORK/x"
expect .provider exec
rm -r "$UMBRA_CONFIG_DIR/providers.d"

# A directory that is no mount point is its volume's; several paths; what is not there.
mkdir "$WORK/b/dir"
examine "$WORK/b/dir"
expect .mount_point "$WORK/b"
[ "$("$UMBRA" --json doctor "$WORK/b" "$WORK/x" | jq '.volumes | length')" = 2 ] || fail "two paths"
examine "$WORK/nothing"
[ "$STATUS" = 1 ] || fail "status $STATUS for what is not there"
grep -q "nothing" "$WORK/messages" || fail "$(cat "$WORK/messages")"

# Where no provider can, the status says so.
examine /proc
[ "$STATUS" = 1 ] || fail "status $STATUS for /proc: $(cat "$WORK/told")"
told "proc is made up by the kernel"
