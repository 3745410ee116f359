#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs the copy-on-write engine against its model for millions of steps, and once more under ThreadSanitizer.
# timeout: 3600
. "$(dirname "$0")/../lib/functions.sh"
requires_program meson ninja

STEPS=${STEPS:-1500000}
# A failure says its seed: UMBRA_SEED repeats it.
UMBRA_STEPS=$STEPS "$BUILD/tests/unit-cow-test-engine" || fail "the engine is not what the model is"
meson setup "$WORK/tsan" "$TOP" -Db_sanitize=thread -Db_lundef=false >"$WORK/setup" 2>&1 || { cat "$WORK/setup" >&2; fail "meson setup"; }
ninja -C "$WORK/tsan" --quiet tests/unit-cow-test-engine
UMBRA_STEPS=$((STEPS / 20)) TSAN_OPTIONS=halt_on_error=1 "$WORK/tsan/tests/unit-cow-test-engine" || fail "a data race"
