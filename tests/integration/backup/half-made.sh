#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills a backup at many points, fills the target and limits the size of files, and expects that nothing half-made is ever
# listed as whole or restored, that ls shows what is left, and that the next backup removes it; two at once: the second one says so.
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 jq mkfs.ext4 mkfs.btrfs prlimit

tree=$WORK/tree
mkdir -p "$tree"
for i in $(seq 60); do head -c 500000 /dev/urandom >"$tree/file$i"; done
first=$(live full "$tree")
states() { "$UMBRA" --json ls "$WORK/target" | jq -r '.backups[].state' | sort | uniq -c | tr -s ' \n' ' '; }
[ "$(states)" = " 1 whole " ] || fail "at first: $(states)"

# archive_bytes: how much of the archive of the backup under way is written
archive_bytes() { stat -c %s "$WORK"/target/.partial-*/files.tar.zst 2>/dev/null || echo 0; }

for limit in 0 1 4000000 12000000 20000000 29000000; do
  "$BACKUP_LIVE" "$WORK/target" full "$tree" >/dev/null 2>&1 &
  pid=$!
  while [ "$(archive_bytes)" -lt "$limit" ] && kill -0 $pid 2>/dev/null; do :; done
  kill -KILL $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  case $(states) in
    *progress* | *damaged*) fail "after a kill at $limit bytes: $(states)" ;;
  esac
  "$UMBRA" --quiet verify "$WORK/target" >/dev/null || fail "a killed backup at $limit bytes left something that is listed and bad"
done
rm -rf "$WORK"/target/.partial-*
# One that is certain to be left over: stopped in its middle, then killed.
"$BACKUP_LIVE" "$WORK/target" full "$tree" >/dev/null 2>&1 &
pid=$!
cleanup_fn kill -KILL $pid
while [ "$(archive_bytes)" -lt 4000000 ]; do kill -0 $pid 2>/dev/null || fail "the backup ended too early"; done
kill -STOP $pid
case $(states) in *"1 in progress"*) ;; *) fail "while one is made: $(states)" ;; esac
# Two at once.
! "$BACKUP_LIVE" "$WORK/target" full "$tree" 2>"$WORK/log" || fail "two backups at once"
grep -q "another backup to '$WORK/target' is being made" "$WORK/log" || { cat "$WORK/log"; fail "busy is not said"; }
"$UMBRA" --quiet restore "$WORK/target@$first" --to "$WORK/out" >/dev/null || fail "no restore while a backup is made"
kill -KILL $pid
wait $pid 2>/dev/null || true
case $(states) in *"1 leftover"*) ;; *) fail "after the kill: $(states)" ;; esac
leftover=$("$UMBRA" --json ls "$WORK/target" | jq -r '.backups[] | select(.state == "leftover") | .name')
! "$UMBRA" --quiet restore "$WORK/target@$leftover" --to "$WORK/out" 2>"$WORK/log" || fail "restored a leftover"
grep -q "not a whole backup" "$WORK/log" || { cat "$WORK/log"; fail "a leftover is not called one"; }
live full "$tree" >/dev/null
case $(states) in *leftover*) fail "the next backup left it" ;; esac
"$UMBRA" --quiet verify "$WORK/target" >/dev/null || fail "verify failed"

# Stopped by the user in the middle of a file: said, and nothing is left.
make_volume busy btrfs 400M
head -c 150000000 /dev/urandom >"$WORK/busy/large"
"$UMBRA" backup "$WORK/busy/large" --to "$WORK/stopped" >"$WORK/log" 2>&1 &
pid=$!
cleanup_fn kill -KILL $pid
while ! stat "$WORK"/stopped/.partial-*/files.tar.zst >/dev/null 2>&1; do kill -0 $pid 2>/dev/null || fail "the backup ended too early"; done
kill -TERM $pid
status=0
wait $pid || status=$?
[ "$status" = 1 ] && grep -q "stopped as asked" "$WORK/log" || { cat "$WORK/log"; fail "a stopped backup ended with $status"; }
[ -z "$(find "$WORK/stopped" -mindepth 1 -name '*[0-9]*' -print -quit)" ] || fail "the stopped backup left something"

# No room: said, nothing left, and there is room again.
make_volume small ext4 16M
cp -r "$tree/file1" "$WORK/one"
"$BACKUP_LIVE" "$WORK/small/target" full "$WORK/one" >/dev/null || fail "no small backup"
free=$(stat -f -c %f "$WORK/small")
! "$BACKUP_LIVE" "$WORK/small/target" full "$tree" 2>"$WORK/log" || fail "30 MB in 16 MB"
grep -q 'No space left' "$WORK/log" || { cat "$WORK/log"; fail "no room is not said"; }
[ "$(stat -f -c %f "$WORK/small")" = "$free" ] || fail "something of the failed backup is still there"
[ "$("$UMBRA" --json ls "$WORK/small/target" | jq -r '.backups | length')" = 1 ] || fail "a failed backup is listed"
# A file that may not get larger.
! prlimit --fsize=5000000 env -u LC_ALL python3 -c '
import os, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$BACKUP_LIVE" "$WORK/target" full "$tree" 2>"$WORK/log" || fail "wrote more than is allowed"
grep -q 'File too large' "$WORK/log" || { cat "$WORK/log"; fail "the limit is not said"; }
case $(states) in *leftover* | *damaged*) fail "the limit left $(states)" ;; esac

# A source that is not there, and a target that cannot be made.
! "$BACKUP_LIVE" "$WORK/target" full "$WORK/nothing" 2>"$WORK/log" || fail "saved nothing"
grep -q "$WORK/nothing" "$WORK/log" || fail "the missing source is not named"
! "$BACKUP_LIVE" "$tree/file1/target" full "$tree" 2>"$WORK/log" || fail "a target below a file"
grep -q "$tree/file1/target" "$WORK/log" || fail "the target is not named"
[ -z "$(find "$WORK/target" -name '.partial-*' -print -quit)" ] || fail "a partial folder was left"

# One backup's own folder in the place of the directory: said, with what is meant.
! "$UMBRA" ls "$(dirname "$(find "$WORK" -name backup.json | head -1)")" 2>"$WORK/messages" || fail "a backup's folder is no backup set directory"
grep -q "is itself one backup of a backup set directory: say DIRECTORY@BACKUP" "$WORK/messages" || fail "$(cat "$WORK/messages")"
