#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives the global options after the verb, between and after its operands: they count as before it, but for what follows the
# program of `umbra run` or a "--". What is wrong with an option is said in one line that begins with "umbra: VERB: ", status 2.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq

make_volume v ext4 32M
make() { "$UMBRA" "$@" --provider null --no-writers "$WORK/v"; }
[ "$(make create --json | jq -r '.set.shadows[0].provider')" = null ] || fail "create --json is no document"
[ "$("$UMBRA" list sets --json | jq '.sets | length')" = 1 ] || fail "list sets --json"
[ "$("$UMBRA" list --state-dir "$WORK/other" --json sets | jq '.sets | length')" = 0 ] || fail "list --state-dir has no effect"
make create --state-dir "$WORK/other" --runtime-dir "$WORK/other-run" >/dev/null
[ "$(find "$WORK/other/sets" -name '*.json' | wc -l)" = 1 ] || fail "create --state-dir put its set elsewhere"
"$UMBRA" delete --state-dir "$WORK/other" --runtime-dir "$WORK/other-run" --all -q >"$WORK/output"
[ ! -s "$WORK/output" ] || fail "delete --all -q says: $(cat "$WORK/output")"

run() { "$UMBRA" run --provider null --no-writers --of "$WORK/v" "$@"; }
[ "$(run --quiet -- echo --json)" = --json ] || fail "an option of the program was taken for ours"
[ "$(run echo --help -q)" = "--help -q" ] || fail "an option of the program was taken for ours, without --"
expect_status 1 "$UMBRA" create --provider null -- --json
expect_output "'--json': No such file"

wrong() {
  expect_status 2 "$UMBRA" "${@:2}"
  [ "$(wc -l <"$WORK/output")" = 1 ] || fail "not one line: $(cat "$WORK/output")"
  expect_output "^umbra: $1"
}
wrong "create: there is no option '--frobnicate' .*umbra create --help" create --frobnicate "$WORK/v"
wrong "there is no option '--frobnicate' .*umbra --help" --frobnicate list
wrong "list: there is no option '-x'" list -qx
wrong "run: option '--of' needs a value" run --of
wrong "delete: option '--oldest' needs a value" delete --oldest
wrong "list: option '--json' takes no value" list --json=yes
wrong "create: option '--st' may be several" create --st "$WORK" "$WORK/v"
wrong "list: option '--state-dir' needs a directory" list --state-dir ''
wrong "list: --progress knows only 'json', not 'xml'" list --progress=xml
wrong "backup: the level is a number from 1 to 19" backup --level 3x "$WORK/v" --to "$WORK/backup"
wrong "restore: --to which directory" restore "$WORK/backup" --to ''
wrong "backup: to which directory" backup "$WORK/v" --to ''
