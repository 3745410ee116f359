#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs umbra as a user who may not: status 1 (125 for run), one line that says so, nothing frozen; what reads only still works.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program setpriv

make_volume v ext4 32M
chmod 755 "$WORK" "$WORK/v" "$UMBRA_STATE_DIR" "$UMBRA_RUNTIME_DIR" "$UMBRA_CONFIG_DIR"
cp "$UMBRA" "$WORK/umbra" # the build directory may be out of reach
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
expect_status 1 as_nobody "$WORK/umbra" create --no-writers "$WORK/v"
expect_output '^umbra: .*([Pp]ermi|root|not allowed)'
expect_status 1 as_nobody "$WORK/umbra" backup --no-writers "$WORK/v" --to "$WORK/backup"
expect_output '^umbra: .*([Pp]ermi|root|not allowed)'
expect_status 125 as_nobody "$WORK/umbra" run --of "$WORK/v" -- true
expect_output '^umbra: .*([Pp]ermi|root|not allowed)'
expect_status 0 as_nobody "$WORK/umbra" --help
accepts_write "$WORK/v" 1 || fail "the volume is frozen"
