#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How much faster is the second copy of unchanged files, where storage is kept, than the first? And how much memory do a million take?
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program python3 jq

FILES=${FILES:-100000} MANY=${MANY:-1000000}
make_volume v ext4 1500M -N $((FILES + FILES / 50 + 1000))
make_volume s ext4 1500M -N $((FILES + FILES / 50 + 1000))
mkdir "$WORK/s/store"
"$TOP/bench/make-files" "$WORK/v" "$FILES" 1000
sync -f "$WORK/v"

create() {
  "$UMBRA" --quiet --json create --no-writers --provider files --storage "$2" "$1" >"$WORK/set"
  "$UMBRA" --quiet delete "$(jq -r .set.id "$WORK/set")"
}
first=$(milliseconds create "$WORK/v" "$WORK/s/store")
second=$(milliseconds create "$WORK/v" "$WORK/s/store")
figure "files: first copy of $FILES files against the second, nothing changed" "$(ratio "$first" "$second")" "" 5 more
echo "files-refresh: first $first ms, second $second ms" >&2

mkdir "$WORK/many" "$WORK/store"
mount -t tmpfs -o "size=8G,nr_inodes=$((MANY * 2 + MANY / 20))" none "$WORK/many"
mount -t tmpfs -o "size=8G,nr_inodes=$((MANY * 2 + MANY / 20))" none "$WORK/store"
"$TOP/bench/make-files" "$WORK/many" "$MANY" 0
memory_kib() { /usr/bin/time -f %M -o "$WORK/memory" "$UMBRA" --quiet --json create --no-writers --provider files --storage "$WORK/store" "$1" >"$WORK/set"; }
memory_kib "$WORK/many" || true
figure "files: memory for $MANY files" "$(awk '{ m = $1 } END { print m / 1024 }' "$WORK/memory")" " MiB" 128
