#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs umbra where the root is read-only: a clear error names the directory that it cannot write; with a writable state elsewhere
# it works.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 32M
echo data >"$WORK/v/file"
# In a mount namespace of its own every mount but the volume and a tmpfs is made read-only, for this one process and its children.
cat >"$WORK/inside" <<'END'
set -e
work=$1 umbra=$2; shift 2
mkdir -p "$work/writable"
mount -t tmpfs none "$work/writable"
# The program may lie below /tmp.
program=$(dirname "$umbra")
mkdir -p "$work/program"
mount --bind "$program" "$work/program"
mount -t tmpfs none /tmp
[ -e "$umbra" ] || { mkdir -p "$program"; mount --move "$work/program" "$program"; }
mount --bind / "$work/mnt" && mount -o remount,bind,ro "$work/mnt"
mount --bind "$work/v" "$work/v"
mount -o remount,bind,ro "$(findmnt -no TARGET -T "$work" | tail -n 1)" 2>/dev/null || mount -o remount,bind,ro /
exec "$@"
END
mkdir "$WORK/mnt"
in_read_only() { unshare -m --propagation private bash "$WORK/inside" "$WORK" "$UMBRA" "$@"; }
if in_read_only touch "$WORK/x" 2>/dev/null; then fail "the test's root is not read-only"; fi
run() {
  local wanted=$1 status=0; shift
  in_read_only "$@" >"$WORK.output" 2>&1 || status=$?
  mv "$WORK.output" "$WORK/output"
  [ "$status" = "$wanted" ] || { cat "$WORK/output"; fail "status $status instead of $wanted: $*"; }
}
cleanup_fn rm -f "$WORK.output"
run 1 "$UMBRA" create --no-writers --provider files "$WORK/v"
expect_output "^umbra: .*$WORK/(state|run).*[Rr]ead-only"
run 0 "$UMBRA" --state-dir "$WORK/writable/state" --runtime-dir "$WORK/writable/run" backup --no-writers "$WORK/v/file" --to "$WORK/writable/backup"
