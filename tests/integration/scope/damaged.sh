#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test changes bytes of metadata at random and walks the scope of everything: each walk ends, without a crash and in time,
# and enough of them say that they met damage.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/scope.sh"

# try FSTYPE SIZE RUNS ATTRIBUTE_BYTES MKFS OPTION...
all_met=0
try() {
  local type=$1 size=$2 runs=$3 attribute_bytes=$4 seed met=0 out; shift 4
  scope_make "$type" "$size" "300 $attribute_bytes 900 100" "$@"
  umount "$WORK/source"
  for ((seed = 1; seed <= runs; seed += 50)); do
    out=$(timeout -s KILL 60 "$BUILD/tests/scope-damage" "$SOURCE" "$type" "$seed" 50 /) ||
      fail "$type $*: status $? in scope-damage IMAGE $type $seed 50 /"
    met=$((met + $(echo "$out" | sed -n 's/.* walks, \(.*\) met damage/\1/p')))
  done
  echo "$type $*: seeds 1 to $((seed - 1)), $met met damage"
  all_met=$((all_met + met))
  rm "$SOURCE"
}

try ext4 100M 200 60000 -b 4096 -O ea_inode,inline_data -I 256
try ext4 100M 200 600 -b 1024 -O ^metadata_csum
try ext3 100M 100 600 -b 1024
try xfs 330M 300 60000 -b size=1024
# Without checksums few changes are damage; of those with checksums, nearly all.
[ "$all_met" -ge 400 ] || fail "too few changes matter: $all_met"
