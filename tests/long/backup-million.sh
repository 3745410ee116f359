#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test does what tests/integration/backup/many-files.sh does with 1,000,000 files.
# timeout: 3600
# alone
# not-under: asan
UMBRA_TEST_FILES=1000000 exec "$(dirname "$0")/../integration/backup/many-files.sh"
