# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by the tests of the files provider. STORAGE is a directory beside the volumes.
# shellcheck shell=bash
DRIVE=$BUILD/tests/provider-drive
STORAGE=$WORK/storage
mkdir "$STORAGE"
requires_root

# copy_of MOUNT_POINT [OPTION...] [-- PATH...]: drives the files provider; its messages are in $WORK/drive, the record in
# $WORK/record. The commands given with --then find the copy in $IMAGE.
copy_of() {
  local volume=$1 options=() ; shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  timeout 120 "$DRIVE" "${options[@]}" files "$volume" "${STORE_IN:-$STORAGE}" "$@" >"$WORK/record" 2>"$WORK/drive" || {
    cat "$WORK/drive" >&2
    return 1
  }
}

SAME_TREE=$TOP/tests/lib/same-tree ODD_TREE=$TOP/tests/lib/odd-tree

# hold_us: how long the last copy_of held the volume, in microseconds
hold_us() { awk '$1 == "hold_ms" { print int($2 * 1000) }' "$WORK/drive" | tail -1; }
