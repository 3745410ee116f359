#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is integration/writers/postgresql with 100 shadow copies of one instant, and 100 in backup mode.
# timeout: 7200
SETS=100 exec "$(dirname "$0")/../integration/writers/postgresql.sh"
