#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives ids, directories, options and verbs that are wrong: status 1 or 2 as the contract has them, the culprit named, nothing changed.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 32M
id=$("$UMBRA" --json create --no-writers --provider files --label keep "$WORK/v" | jq -r .set.id)
wrong() { expect_status "$1" "$UMBRA" "${@:3}"; expect_output "$2"; }
unknown=00000000-1111-2222-3333-444444444444
for verb in show mount unmount delete; do wrong 1 "^umbra: .*$unknown" "$verb" "$unknown"; done
wrong 1 "^umbra: .*${id:0:3}" show "${id:0:3}"        # shorter than a prefix may be
wrong 1 '^umbra: .*' delete "${id:0:3}"
wrong 1 '^umbra: .*no-such' show no-such-label
wrong 1 "^umbra: .*$WORK/nowhere" create "$WORK/nowhere"
wrong 1 "^umbra: .*no-such-provider" create --provider no-such-provider "$WORK/v"
wrong 1 "^umbra: .*$WORK/nowhere" backup "$WORK/nowhere" --to "$WORK/backup"
wrong 1 "^umbra: .*$WORK/nothing" restore "$WORK/nothing" --to "$WORK/out"
wrong 1 "^umbra: .*$WORK/nothing" verify "$WORK/nothing"
wrong 1 '^umbra: .*/proc' create --provider clone /proc
wrong 2 '.' frobnicate
wrong 2 '.' create
wrong 2 '.' create --no-such-option "$WORK/v"
wrong 2 '.' backup "$WORK/v"
wrong 2 '.' mount
wrong 2 'require' create --require everything "$WORK/v"
expect_status 0 "$UMBRA" show "${id:0:4}"
expect_status 0 "$UMBRA" show keep
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 1 ] || fail "the set has gone, or another has come"
expect_status 0 "$UMBRA" delete keep
