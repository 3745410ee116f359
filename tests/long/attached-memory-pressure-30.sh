#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is crash/attached-memory-pressure for some half an hour.
# timeout: 7200
PASSES=40 exec "$(dirname "$0")/../crash/attached-memory-pressure.sh"
