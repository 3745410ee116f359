#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is crash/attached-programs-die with 34 rounds of three kills on each filesystem.
# timeout: 3600
ROUNDS=34 exec "$(dirname "$0")/../crash/attached-programs-die.sh"
