#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 21 of the answered system: what was saved and its document, moved to a machine of its own configuration, restore the data; the writer hears of it where it is,
# and where it is not nobody misses it.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"
BETEST=$BUILD/tests/betest

make_volume v ext4 64M
mkdir "$WORK/v/db"; echo data >"$WORK/v/db/file"
scripted w "[{\"components\": [{\"name\": \"db\", \"files\": $(files "$WORK/v/db")}]}]"
"$BETEST" backup "$WORK/backup" w:db || fail "status $?"
mv "$WORK/backup" "$WORK/moved"
# Another machine: nothing of umbra's state is there.
for with in absent present; do
  export UMBRA_STATE_DIR=$WORK/$with/state UMBRA_RUNTIME_DIR=$WORK/$with/run UMBRA_CONFIG_DIR=$WORK/$with/etc
  mkdir -p "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/writers"
  [ "$with" = absent ] || scripted w '[{"components": []}]'
  "$BETEST" wipe "$WORK/moved"; rm -f "$LOG"
  [ ! -e "$WORK/v/db/file" ] || fail "nothing was wiped"
  "$BETEST" restore "$WORK/moved" && "$BETEST" compare "$WORK/moved" || fail "$with: status $?"
  told=$(told "" | tr -d ' '); [ "$with" = absent ] || told=$(awk '{ printf "%s ", $1 }' "$LOG")
  [ "$with" = absent ] && [ -z "$told" ] || [ "$told" = "pre-restore post-restore " ] || fail "$with: told: $told"
done
