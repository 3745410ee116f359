#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 30 of the answered system, its files that are excluded from the shadow copy: they are gone from it and not from the volume, nothing
# else is; with --no-repair they are there; a link among them leads nowhere.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"

make_volume v ext4 64M
mkdir -p "$WORK/v/data/deep" "$WORK/v/flat/deep" "$WORK/outside"
touch "$WORK"/v/data/{keep,a.tmp} "$WORK"/v/data/deep/{keep,b.tmp} "$WORK"/v/flat/{c.tmp,keep} "$WORK/v/flat/deep/d.tmp" "$WORK/outside/e.tmp"
mkdir "$WORK/v/data/dir.tmp"; touch "$WORK/v/data/dir.tmp/keep"
ln -s "$WORK/outside" "$WORK/v/data/link"; ln -s "$WORK/outside" "$WORK/v/data/link.tmp"
before=$(find "$WORK/v" "$WORK/outside" | sort)
component() {
  jq -nc --argjson files "$(files "$WORK/v")" --argjson deep "$(files "$WORK/v/data" '*.tmp')" --argjson flat "$(files "$WORK/v/flat" '*.tmp' false)" \
    --argjson link "$(files "$WORK/v/data/link" '*')" --argjson gone "$(files "$WORK/v/nothing" '*')" '{name: "all", $files, shadow_excludes: ($deep + $flat + $link + $gone)}'
}
scripted w "[{\"components\": [$(component)]}]"
# tree: what the shadow copy of the set in $WORK/set shows
tree() {
  local directory
  directory=$("$UMBRA" mount "$(jq -r '.set.shadows[0].id' "$WORK/set")")
  (cd "$directory" && find data flat | sort | tr '\n' ' ')
  touch "$directory/data/new" 2>/dev/null && fail "the shadow copy can be written to"
  "$UMBRA" unmount "$directory"
  "$UMBRA" --quiet delete --all
}
for provider in clone files; do
  "$UMBRA" --json create --provider "$provider" "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || fail "$provider: status $?: $(cat "$WORK/messages")"
  shown=$(tree)
  [ "$shown" = "data data/deep data/deep/keep data/dir.tmp data/dir.tmp/keep data/keep data/link flat flat/deep flat/deep/d.tmp flat/keep " ] || fail "$provider: $shown"
  grep -q "not want in the shadow copy is still there ('$WORK/v/data/link')" "$WORK/messages" || fail "$provider: nothing was said of the link: $(cat "$WORK/messages")"
  [ "$(find "$WORK/v" "$WORK/outside" | sort)" = "$before" ] || fail "$provider: the volume itself was changed"
done
"$UMBRA" --json create --no-repair --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || fail "status $?: $(cat "$WORK/messages")"
shown=$(tree)
[ "$(wc -w <<<"$shown")" = 15 ] && [[ $shown == *data/deep/b.tmp* ]] || fail "with --no-repair: $shown"
# In a backup they are not, whatever can be done with its shadow copy.
expect_status 0 "$UMBRA" --quiet backup --provider clone "$WORK/v/data" --to "$WORK/backup"
[ "$("$UMBRA" ls "$WORK/backup@latest" | grep -oP "(?<=v/data/).*" | sort | tr '\n' ' ')" = "deep deep/keep dir.tmp dir.tmp/keep keep link -> $WORK/outside " ] || fail "$("$UMBRA" ls "$WORK/backup@latest")"

# Deeper than what is followed: said.
deep=$WORK/v/data
for _ in {1..258}; do deep+=/d; done
mkdir -p "$deep"
"$UMBRA" --json create --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || fail "status $?: $(cat "$WORK/messages")"
grep -q "still there ('$WORK/v/data'): File name too long" "$WORK/messages" || fail "nothing was said of the depth: $(cat "$WORK/messages")"
"$UMBRA" --quiet delete --all
