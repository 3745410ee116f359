#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test refuses, by name, executables that others than root could have written, also when it comes to removal.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume volume ext4 32M
SCRIPT=$UMBRA_CONFIG_DIR/script
program=$UMBRA_CONFIG_DIR/providers.d/scripted
mkdir "$UMBRA_CONFIG_DIR/providers.d" "$SCRIPT" "$SCRIPT/tree" "$WORK/storage"
cp "$TOP/tests/lib/scripted-provider" "$program"

refused() {
  : >"$SCRIPT/log"
  "$BUILD/tests/provider-drive" scripted "$WORK/volume" "$WORK/storage" >/dev/null 2>"$WORK/messages" && fail "$1: it was run"
  [ ! -s "$SCRIPT/log" ] || fail "$1: it was run: $(cat "$SCRIPT/log")"
  grep -q "$2" "$WORK/messages" || fail "$1: $(cat "$WORK/messages")"
}
chmod 0775 "$program"
refused "writable by its group" "'$program' is not run: others than its owner may write to it"
chmod 0757 "$program"
refused "writable by all" "'$program' is not run: others than its owner may write to it"
chmod 0755 "$program"
chown nobody "$program"
refused "somebody else's" "'$program' is not run: it belongs to user"
chown root "$program"
chmod 0777 "$UMBRA_CONFIG_DIR/providers.d"
refused "in a directory for all" "providers.d' is not run: others"
chmod 0755 "$UMBRA_CONFIG_DIR/providers.d"
chmod 0644 "$program"
refused "not executable" "not an executable file"
chmod 0755 "$program"
mv "$program" "$program.gone"
refused "not there" "no provider 'scripted'"
mv "$program.gone" "$program"

"$BUILD/tests/provider-drive" --keep scripted "$WORK/volume" "$WORK/storage" >"$WORK/record" 2>/dev/null || fail "it works otherwise"
chmod 0777 "$program"
"$BUILD/tests/provider-drive" --remove exec "$WORK/record" 2>"$WORK/messages" && fail "removed by somebody else's program"
grep -q "needed to remove it: '$program' is not run" "$WORK/messages" || fail "$(cat "$WORK/messages")"
chmod 0755 "$program"
"$BUILD/tests/provider-drive" --remove exec "$WORK/record" || fail "removal"
[ "$(tail -n 1 "$SCRIPT/log")" = remove ] || fail "$(cat "$SCRIPT/log")"
