#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test fills the storage in the middle of a clone and of a file copy: a clear error names it, and nothing is left there.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 96M
head -c 60000000 /dev/urandom >"$WORK/v/data"
make_volume s ext4 24M
free_kb() { df --output=avail -k "$WORK/s" | tail -n 1; }
sync -f "$WORK/s"
before=$(free_kb)
for provider in clone files; do
  expect_status 1 "$UMBRA" create --no-writers --provider "$provider" --storage "$WORK/s" "$WORK/v"
  expect_output "^umbra: .*$WORK/(s|v)"
  expect_output '[Nn]o space|room|full|storage'
  accepts_write "$WORK/v" 1 || fail "the volume is frozen"
  [ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set is left"
  sync -f "$WORK/s"
  [ $((before - $(free_kb))) -le 200 ] || fail "$provider: $((before - $(free_kb))) KiB are left in the storage: $(find "$WORK/s")"
done
# A limit of its own works the same.
expect_status 1 "$UMBRA" create --no-writers --provider files --storage-max 10M "$WORK/v"
[ "$(du -sm "$UMBRA_STATE_DIR" | cut -f1)" -le 2 ] || fail "storage is left: $(du -a "$UMBRA_STATE_DIR")"
