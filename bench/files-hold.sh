#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What does a copy of files add to the hold for each file in scope, against the bare FIFREEZE and FITHAW of the same volume, interleaved?
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program python3 jq

FILES=${FILES:-100000} ROUNDS=${ROUNDS:-9}
make_volume v ext4 1200M -N $((FILES + FILES / 50 + 1000))
make_volume s ext4 1200M -N $((FILES + FILES / 50 + 1000))
mkdir "$WORK/s/store"
"$TOP/bench/make-files" "$WORK/v" "$FILES" 100
sync -f "$WORK/v"

hold_ms() {
  local set
  set=$("$UMBRA" --quiet --json create --no-writers --provider files --storage "$WORK/s/store" "$WORK/v")
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")"
  jq .set.hold_ms <<<"$set"
}
hold_ms >/dev/null
for ((i = 0; i < ROUNDS; i++)); do
  bare_freeze_ms "$WORK/v" >>"$WORK/bare"
  hold_ms >>"$WORK/files"
done
bare=$(median <"$WORK/bare") held=$(median <"$WORK/files")
figure "files: hold for each of $FILES files beyond the bare freeze" "$(awk -v h="$held" -v b="$bare" -v n="$FILES" 'BEGIN { print (h - b) * 1000 / n }')" " µs" 3
echo "files-hold: $held ms, bare $bare ms (medians of $ROUNDS)" >&2
