#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test starts two backups to one target at once: both come out whole, or one says that the target is busy and leaves nothing.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 96M
mkdir "$WORK/v/data"
for i in {1..300}; do head -c 20000 /dev/urandom >"$WORK/v/data/$i"; done
backup() { "$UMBRA" backup --no-writers --type full "$WORK/v/data" --to "$WORK/backup" >"$WORK/out.$1" 2>&1; }
backup 1 & first=$!
backup 2 & second=$!
cleanup_fn kill_and_wait "$first"
cleanup_fn kill_and_wait "$second"
one=0 two=0
wait "$first" || one=$?
wait "$second" || two=$?
[ "$one" = 0 ] || [ "$two" = 0 ] || { cat "$WORK"/out.*; fail "neither came out ($one, $two)"; }
good=0
for status_number in "$one 1" "$two 2"; do
  read -r status number <<<"$status_number"
  case $status in
    0) good=$((good + 1)) ;;
    1) grep -q "^umbra: .*$WORK/backup" "$WORK/out.$number" || fail "the one that failed does not name the target: $(cat "$WORK/out.$number")" ;;
    *) cat "$WORK/out.$number"; fail "status $status" ;;
  esac
done
expect_status 0 "$UMBRA" verify "$WORK/backup"
[ "$(find "$WORK/backup" -mindepth 2 -maxdepth 2 -name backup.json | wc -l)" = "$good" ] || fail "not $good whole backups: $(find "$WORK/backup" -maxdepth 2)"
expect_status 0 "$UMBRA" restore "$WORK/backup" --to "$WORK/restored"
diff -r "$WORK/v/data" "$WORK/restored$WORK/v/data" || fail "restored something else"
