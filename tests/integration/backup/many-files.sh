#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test saves, saves again, verifies, lists and restores a tree of 100,000 files, half of them in one directory and with hard links
# among them, and expects the memory of each to stay below 128 MiB and the second backup to read nothing.
# not-under: asan
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_program python3 jq
[ -x /usr/bin/time ] || skip "/usr/bin/time is not installed"
count=${UMBRA_TEST_FILES:-100000}
limit_kib=$((128 * 1024))

# within_memory COMMAND…
within_memory() {
  /usr/bin/time -f %M -o "$WORK/rss" "$@" >"$WORK/said" || { cat "$WORK/said"; fail "$* failed"; }
  local rss
  rss=$(tail -n 1 "$WORK/rss")
  echo "$(basename "$1") ${*:2:2}: $((rss / 1024)) MiB"
  [ "$rss" -le $limit_kib ] || fail "$* took $((rss / 1024)) MiB"
}

make_volume big ext4 "$((count / 1000 * 2 + 200))M" -N $((count * 5 / 2)) -I 256
tree=$WORK/big/tree
python3 "$TOP/tests/lib/many-files.py" "$tree" "$count"
after_tick
within_memory "$BACKUP_LIVE" "$WORK/target" full "$tree"
[ "$(jq -r .files "$WORK/said")" = "$count" ] || fail "saved $(jq -r .files "$WORK/said") files"
rm "$tree"/flat/*9 2>/dev/null || find "$tree/flat" -name '*9' -delete
within_memory "$BACKUP_LIVE" "$WORK/target" incremental "$tree"
[ "$(jq -r .stored "$WORK/said")" -le 2 ] || fail "the incremental backup stored $(jq -r .stored "$WORK/said") members"
within_memory "$UMBRA" --quiet verify "$WORK/target"
within_memory "$UMBRA" --json ls "$WORK/target@latest"
within_memory "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/big/out"
(cd "$tree" && find . -printf '%P %y %n %T@\n' | sort) >"$WORK/a"
(cd "$WORK/big/out$tree" && find . -printf '%P %y %n %T@\n' | sort) >"$WORK/b"
cmp "$WORK/a" "$WORK/b" || fail "the restored tree differs"
