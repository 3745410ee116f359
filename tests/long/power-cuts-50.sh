#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is vm/power-cuts with 13 cuts of each filesystem over each front: 52.
# timeout: 7200
CUTS=${CUTS:-13} exec "$(dirname "$0")/../vm/power-cuts.sh"
