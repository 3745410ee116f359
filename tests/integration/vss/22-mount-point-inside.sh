#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 22 of the answered system: a volume mounted inside the paths: both volumes are saved, at one instant, each from its own shadow copy.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume outer ext4 64M
mkdir "$WORK/outer/tree" "$WORK/outer/tree/inner" && echo outside >"$WORK/outer/tree/file" && echo hidden >"$WORK/outer/tree/inner/hidden"
truncate -s 64M "$WORK/inner.img" && mkfs.ext4 -q "$WORK/inner.img"
cleanup_fn umount "$WORK/outer/tree/inner"
mount -o loop "$WORK/inner.img" "$WORK/outer/tree/inner"
echo inside >"$WORK/outer/tree/inner/file"
expect_status 0 "$UMBRA" --quiet backup --no-writers --all-volumes "$WORK/outer/tree" --to "$WORK/backup"
[ "$(jq '.set.shadows | length' "$WORK"/backup/*/backup.json)" = 2 ] || fail "not two volumes"
[ "$(jq -r .set.instant "$WORK"/backup/*/backup.json)" = set ] || fail "not one instant"
expect_status 0 "$UMBRA" --quiet restore "$WORK/backup" --to "$WORK/out"
got=$WORK/out$WORK/outer/tree
grep -q outside "$got/file" && grep -q inside "$got/inner/file" || fail "something else: $(find "$got")"
[ ! -e "$got/inner/hidden" ] || fail "what lies under the mount point was saved in its place"
# Not followed, it is named.
expect_status 0 "$UMBRA" --quiet backup --no-writers "$WORK/outer/tree" --to "$WORK/backup2"
expect_output "$WORK/outer/tree/inner"
# And run shows both.
expect_status 0 "$UMBRA" run --no-writers --of "$WORK/outer" --of "$WORK/outer/tree/inner" -- grep -q inside "$WORK/outer/tree/inner/file"
