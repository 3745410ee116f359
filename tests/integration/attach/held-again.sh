#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test has another volume of the set ask for a second and a third hold: the attached one's shadow copy is then that of the last hold,
# and the only one.
# timeout: 180
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq

attached_volume v ext4 64M
make_volume w ext4 32M
SCRIPT=$UMBRA_CONFIG_DIR/script
mkdir "$UMBRA_CONFIG_DIR/providers.d" "$SCRIPT" "$SCRIPT/tree"
cp "$TOP/tests/lib/scripted-provider" "$UMBRA_CONFIG_DIR/providers.d/scripted"
cat >"$SCRIPT/can" <<END_CAN
case \$document in *'"$WORK/v"'*) echo '{"can": false, "why": "not this one"}'; exit 0 ;; esac
END_CAN
# shellcheck disable=SC2016
echo '[ "$(grep -c told "$SCRIPT/log")" -ge 3 ] || exit 75' >"$SCRIPT/commit"
# Between two holds: how many there have been.
echo "grep -c told \"\$SCRIPT/log\" >'$WORK/v/holds' || true; sync -f '$WORK/v'" >"$SCRIPT/precommit"
echo 0 >"$WORK/v/holds"
: >"$SCRIPT/log"

"$UMBRA" --json create --no-writers --require instant "$WORK/v" "$WORK/w" >"$WORK/set" 2>"$WORK/messages" || fail "$(cat "$WORK/messages")"
[ "$(jq -r '[.set.shadows[].provider] | sort | join(" ")' "$WORK/set")" = "cow exec" ] || fail "$(cat "$WORK/set")"
[ "$(grep -c told "$SCRIPT/log")" = 3 ] || fail "holds: $(cat "$SCRIPT/log")"
[ "$(attached_status "$ATTACHED" shadows)" = 1 ] || fail "$(attached_status "$ATTACHED" shadows) shadow copies"
tree=$("$UMBRA" mount "$(jq -r '.set.shadows[] | select(.provider == "cow").id' "$WORK/set")")
[ "$(cat "$tree/holds")" = 2 ] || fail "it shows what was there after $(cat "$tree/holds") holds instead of 2"
"$UMBRA" unmount "$tree"
"$UMBRA" --quiet delete --all
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"
no_attached_left
