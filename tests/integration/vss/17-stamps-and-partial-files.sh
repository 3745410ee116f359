#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 17 of the answered system: a full backup and three incremental ones with backup stamps and ranges of a file; restored one after the other the file is what it
# was, and recovery waits for the last.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"
BETEST=$BUILD/tests/betest

make_volume v ext4 64M
mkdir "$WORK/v/db"
table=$WORK/v/db/table
head -c 1000000 /dev/urandom >"$table"
instances="[{\"instance\": \"db\", \"components\": [{\"name\": \"db\", \"files\": $(files "$WORK/v/db")}]}]"
# script NUMBER RANGES-JSON: the writer as it is at backup NUMBER
script() {
  scripted w "$instances" "$(jq -nc --arg stamp "stamp $1" --argjson partial "$2" --arg path "$table" '{"prepare-backup": {ask: ["db"]},
    "post-snapshot": {stamps: {db: $stamp}, partial_files: [$partial[] | {component: "db", $path, ranges: .}]}, "post-restore": {ask: ["db"]}}')"
}
script 0 '[]'
"$BETEST" --partial backup "$WORK/b0" w/db:db || fail "full: status $?"
[ "$(asked db db stamp)" = - ] && [ "$(asked db db partial)" = 1 ] || fail "$(cat "$LOG")"
for i in 1 2 3; do
  offset=$((i * 200000)); later=$((offset + 50000))
  head -c 1000 /dev/urandom | dd of="$table" bs=1000 seek=$((offset / 1000)) conv=notrunc status=none
  head -c 7000 /dev/urandom | dd of="$table" bs=1000 seek=$((later / 1000)) conv=notrunc status=none
  script "$i" "[\"$offset:1000,$(printf '0x%x' "$later"):7000\"]"
  "$BETEST" --type incremental --base "$WORK/b$((i - 1))" --partial backup "$WORK/b$i" w/db:db || fail "incremental $i: status $?"
  grep -q "^asked db db type=incremental selected=1 stamp=stamp $((i - 1)) " "$LOG" || fail "incremental $i: $(cat "$LOG")"
  [ "$(find "$WORK/b$i/parts" -type f -printf '%f %s\n' | sort | tr '\n' ' ')" = "table@$offset 1000 table@$later 7000 " ] && [ ! -e "$WORK/b$i/files" ] ||
    fail "incremental $i saved: $(find "$WORK/b$i")"
done
cp "$table" "$WORK/was"
"$BETEST" wipe "$WORK/b0"
[ ! -e "$table" ] || fail "nothing was wiped"
for i in 0 1 2 3; do
  : >"$LOG"
  more=(); [ "$i" = 3 ] || more=(--more)
  "$BETEST" "${more[@]}" restore "$WORK/b$i" || fail "restore $i: status $?"
  [ "$(asked db db more)" = "$((i < 3))" ] || fail "restore $i: $(cat "$LOG")"
done
cmp "$table" "$WORK/was" || fail "not what it was"

# One that does not know of ranges is told of none, and saves whole files: so the ranges' writer must not name any then, which is its own matter.
"$BETEST" backup "$WORK/whole" w/db:db && [ "$(asked db db partial)" = 0 ] || fail "$(cat "$LOG")"
# Ranges that are none fail the writer, by name.
for wrong in 5 1:2,,3:4 -1:2 1:-2 1:2x 1:2x3:4 99999999999999999999:1; do
  script 9 "[\"$wrong\"]"
  status=0; "$BETEST" --partial backup "$WORK/wrong" w/db:db 2>"$WORK/messages" || status=$?
  grep -q "writer 'w db'.*failed-at-post-snapshot: .*the script's stamps or partial files are wrong" "$WORK/messages" || fail "ranges $wrong: status $status: $(cat "$WORK/messages")"
done
