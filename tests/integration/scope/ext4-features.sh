#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test extracts part of ext2, ext3 and ext4 filesystems of many feature sets and mounts it: everything in scope is as in the
# source, and little else was taken.
# timeout: 400
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"

# try FSTYPE ATTRIBUTE_BYTES GRANULE_SHIFT MKFS OPTION...
try() {
  local type=$1 attribute_bytes=$2 shift_=$3; shift 3
  echo "-- $type $*, granules of 2^$shift_"
  scope_make "$type" 200M "300 $attribute_bytes 900 200" "$@"
  scope_compare "$type" "$shift_" in
  scope_drop
}

try ext4 2500 12 -b 4096
try ext4 600 16 -b 1024
try ext3 600 12 -b 1024
try ext2 2500 12 -b 4096
try ext4 600 10 -b 1024 -O bigalloc,^resize_inode -C 16384
try ext4 2500 12 -b 4096 -O meta_bg,^resize_inode
try ext4 600 12 -b 1024 -O meta_bg,bigalloc,^resize_inode -C 16384
try ext4 200 12 -b 4096 -O inline_data -I 512
try ext4 60000 12 -b 4096 -O ea_inode
try ext4 2500 12 -b 4096 -O ^64bit,^metadata_csum,^flex_bg,uninit_bg
try ext4 2500 13 -b 4096 -O mmp,orphan_file
try ext4 0 12 -I 128
try ext4 2500 12 -b 4096 -O ^has_journal,^filetype
