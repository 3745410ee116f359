#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes a shadow copy through the example in examples/provider-exec: a reflink of a loop device's file, made under the hold.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.xfs mkfs.ext4

mkdir "$UMBRA_CONFIG_DIR/providers.d" "$WORK/storage"
cp "$TOP/examples/provider-exec" "$UMBRA_CONFIG_DIR/providers.d/reflink"

# A volume whose image lies on XFS, and one whose image lies on a filesystem without reflinks.
make_volume below xfs 320M
truncate -s 32M "$WORK/below/image"
mkfs.ext4 -q -F "$WORK/below/image"
DEVICE=$(losetup --find --show "$WORK/below/image")
cleanup_fn losetup -d "$DEVICE"
mkdir "$WORK/upper"
cleanup_fn umount "$WORK/upper"
mount "$DEVICE" "$WORK/upper"
echo before >"$WORK/upper/file"

export WORK
"$BUILD/tests/provider-drive" --thawed 'echo after >"$WORK/upper/file"' \
  --then 'mkdir -p "$WORK/view" && mount -o ro,noload,loop "$IMAGE" "$WORK/view" && cat "$WORK/view/file" >"$WORK/seen"; umount "$WORK/view"; ls -A "$WORK/below" >"$WORK/during"' \
  reflink "$WORK/upper" "$WORK/storage" >"$WORK/record" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(cat "$WORK/seen")" = before ] || fail "the shadow copy shows '$(cat "$WORK/seen")'"
[ "$(cat "$WORK/upper/file")" = after ] || fail "the live volume lost a write"
grep -q '^\.umbra-' "$WORK/during" || fail "no clone was there: $(cat "$WORK/during")"
[ "$(ls -A "$WORK/below")" = image ] || fail "left behind: $(ls -A "$WORK/below")"
grep -q 'instant lost' "$WORK/messages" && fail "a held volume is one instant"

# The best provider is this one, too: executables come first.
[ "$("$BUILD/tests/provider-drive" any "$WORK/upper" "$WORK/storage" 2>/dev/null | jq -r .executable)" = reflink ] ||
  fail "the executable was not preferred"

# Where it cannot, it says so in words.
make_volume other ext4 32M
"$BUILD/tests/provider-drive" reflink "$WORK/other" "$WORK/storage" >/dev/null 2>"$WORK/messages" && fail "a clone without reflinks"
grep -q 'the image lies on a filesystem without reflinks' "$WORK/messages" || fail "said: $(cat "$WORK/messages")"
