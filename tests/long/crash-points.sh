#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test takes the power away from persistent shadow copies at 10,000 and more points, each in one of three ways (unit/cow-test-crash-points).
# timeout: 3600
. "$(dirname "$0")/../lib/functions.sh"

# A failure says its seed: UMBRA_SEED repeats it.
UMBRA_POINTS=${POINTS:-12000} "$BUILD/tests/unit-cow-test-crash-points" || fail "a shadow copy did not survive"
