#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test extracts part of XFS filesystems of many feature sets and mounts it: everything in scope is as in the source, and
# little else was taken.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"

# try GRANULE_SHIFT MKFS OPTION...
try() {
  local shift_=$1; shift
  echo "-- xfs $*, granules of 2^$shift_"
  scope_make xfs 330M "300 60000 900 200" "$@"
  scope_compare xfs "$shift_" in
  scope_drop
}

try 12
try 10 -b size=1024
try 16 -b size=1024 -n size=8192
try 12 -m rmapbt=1,reflink=1,bigtime=1,inobtcount=1 -i nrext64=1
try 12 -i size=2048 -n size=65536
try 12 -m bigtime=0,reflink=0 -i nrext64=0,sparse=0
try 12 -b size=4096 -s size=4096
