#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is vm/power-cuts with 25 cuts on each filesystem.
# timeout: 7200
CUTS=25 exec "$(dirname "$0")/../vm/power-cuts.sh"
