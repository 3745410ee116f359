#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How fast are streams (umbra stream, BackupRead and BackupWrite)? A file of SIZE (4G), in memory, read and written through a pipe, against cp of it; FILES (50,000)
# small ones by a program that calls the library, against tar through a pipe.
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root

ROUNDS=${ROUNDS:-5} SIZE=${SIZE:-4G} FILES=${FILES:-50000}
copy_by_cp() { cp "$WORK/file" "$WORK/copy"; }
copy_by_streams() { "$UMBRA" stream read "$WORK/file" | "$UMBRA" stream write "$WORK/copy"; }
tree_by_tar() { tar --xattrs --acls -C "$WORK/tree" -cf - . | tar --xattrs --acls -C "$WORK/to" -xf -; }
tree_by_streams() { "$BUILD/tests/stream-tree" "$WORK/tree" "$WORK/to" - 0; }
# measure NAME WAY OTHER PLACE: rounds in turns, each from nothing, with what was written before on the disk
measure() {
  local i k way
  for ((i = 0; i < ROUNDS; i++)); do
    for ((k = 0; k < 2; k++)); do
      if (((i + k) % 2)); then way=$2; else way=$3; fi
      rm -rf "$WORK/copy" "$WORK/to"; mkdir "$WORK/to"
      sync -f "$WORK"
      milliseconds "$way" >>"$WORK/$way"
    done
    ratio "$(tail -n 1 "$WORK/$3")" "$(tail -n 1 "$WORK/$2")" >>"$WORK/ratios-$2"
  done
  echo "streams: $1: $(median <"$WORK/$2") ms, $(median <"$WORK/$3") ms (medians of $ROUNDS)" >&2
}

head -c "$SIZE" /dev/urandom >"$WORK/file"
measure "a file of $SIZE, and by cp" copy_by_streams copy_by_cp
figure "streams: read and written, a file of $SIZE, rate against cp, median" "$(median <"$WORK/ratios-copy_by_streams")" "" 0.9 more
rm "$WORK/file"
mkdir "$WORK/tree"
for ((i = 0; i < FILES / 500; i++)); do
  mkdir "$WORK/tree/$i"
  head -c 1000000 /dev/urandom | split -b 2000 -a 3 - "$WORK/tree/$i/"
done
measure "$FILES small files, and by tar" tree_by_streams tree_by_tar
figure "streams: read and written, $FILES small files, rate against tar, median" "$(median <"$WORK/ratios-tree_by_streams")" "" 1 more
