# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh: SQLite databases under load on a volume, and looking at them in shadow copies.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"
. "$TOP/tests/lib/writers.sh"
# A copy: where the source lies nobody may not be allowed to go.
LOAD_PROGRAM=$WORK/sqlite-load.py
install -m 644 "$TOP/tests/lib/sqlite-load.py" "$LOAD_PROGRAM"
DATABASES=(wal journal) WORKERS=(1 2)
PYTHON=/usr/bin/python3 # one that nobody may run, too
[ -x "$PYTHON" ] || skip "there is no $PYTHON"
sqlite_load() { "$PYTHON" "$LOAD_PROGRAM" "$@"; }
AS_NOBODY=(setpriv --reuid=nobody --regid=nogroup --clear-groups)

# sqlite_start DIRECTORY: two databases in it, one in WAL mode, of nobody, one with a rollback journal, of root, with two processes each that write.
# A system-level writer, which freezes after all others, saves what was acknowledged by then.
sqlite_start() {
  local d w
  DATA=$1
  chmod 711 "$WORK"
  install -d -o nobody -g nogroup "$DATA/wal" "$WORK/acknowledged-wal"
  install -d "$DATA/journal" "$WORK/acknowledged-journal" "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d"
  "${AS_NOBODY[@]}" "$PYTHON" "$LOAD_PROGRAM" make "$DATA/wal/wal.db" WAL
  sqlite_load make "$DATA/journal/journal.db" DELETE
  ln -s "$BUILD/writers/sqlite/sqlite" "$UMBRA_CONFIG_DIR/writers.d/sqlite"
  make_writer acknowledged system '"components": []' \
    "[ \"\$1\" != freeze ] || cp '$WORK'/acknowledged-*/* '$WORK/frozen/'; ! [ -e '$WORK/hang' -a \"\$1\" = freeze ] || { touch '$WORK/hangs'; exec sleep 60; }"
  for w in "${WORKERS[@]}"; do
    background "${AS_NOBODY[@]}" "$PYTHON" "$LOAD_PROGRAM" transfer "$DATA/wal/wal.db" "$w" "$WORK/acknowledged-wal/wal.$w"
    background "$PYTHON" "$LOAD_PROGRAM" transfer "$DATA/journal/journal.db" "$w" "$WORK/acknowledged-journal/journal.$w"
  done
  for d in "${DATABASES[@]}"; do
    for w in "${WORKERS[@]}"; do wait_for 30 test -s "$WORK/acknowledged-$d/$d.$w" || fail "nothing is written to $d"; done
  done
}

# sqlite_goes_on: something new is committed to each database
sqlite_goes_on() {
  local d bytes
  for d in "${DATABASES[@]}"; do
    bytes=$(acknowledged_bytes "$d")
    wait_for 30 grew "$d" "$bytes" || fail "nothing more is written to $d"
  done
}
acknowledged_bytes() { cat "$WORK/acknowledged-$1"/* | wc -c; }
grew() { [ "$(acknowledged_bytes "$1")" -gt "$2" ]; }

# sqlite_check DIRECTORY: the databases as they are below it, in copies of them
sqlite_check() {
  local d
  rm -rf "$WORK/copy"
  mkdir "$WORK/copy"
  cp "$1"/*/*.db* "$WORK/copy/"
  # As the copy is, before anybody has opened it. Until a journal is complete its first byte is 0: then it is not hot.
  ! head -qc 1 "$WORK/copy/journal.db-journal" 2>/dev/null | tr -d '\0' | grep -q . || fail "there is a hot journal in the copy"
  for d in "${DATABASES[@]}"; do
    sqlite_load check "$WORK/copy/$d.db" "$WORK/frozen/$d".* || fail "the copy of $d"
  done
}

# sqlite_shadow OPTION...: a set of $DATA's volume, its shadow copy checked
sqlite_shadow() {
  local set
  set=$("$UMBRA" --quiet --json create --require application "$@" "$DATA") || fail "create"
  "$UMBRA" --quiet mount "$(jq -r '.set.shadows[0].id' <<<"$set")" "$WORK/mounted" >/dev/null || fail "mount"
  sqlite_check "$WORK/mounted${DATA#"$(stat -c %m "$DATA")"}"
  "$UMBRA" --quiet unmount "$WORK/mounted" >/dev/null
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")" >/dev/null
}
