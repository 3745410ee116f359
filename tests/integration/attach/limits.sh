#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test reaches the limits of what umbra attach and umbratab take (names, chunk, limit, options, the table's size), and goes one beyond:
# refused with the reason, and nothing is left.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program python3

# Short, so that a name may be as long as it may: a socket's path has 107 bytes.
UMBRA_RUNTIME_DIR=$(mktemp -d /tmp/uXXXXXX)
cleanup_fn rm -rf --one-file-system "$UMBRA_RUNTIME_DIR"
truncate -s 64M "$WORK/v.origin"
refused() {
  local pattern=$1; shift
  expect_status 1 "$UMBRA" attach "$@"
  expect_output "$pattern"
  no_attached_left
}
name_of() { printf "test-$$-%0$(($1 - ${#$} - 6))d" 0; }

longest=$(name_of 63)
[ ${#longest} = 63 ] || fail "the name is ${#longest} long"
ATTACHED=$longest
cleanup_fn attached_away "$longest"
"$UMBRA" attach --chunk 65536 --limit 65536 "$WORK/v.origin" "$longest" >/dev/null 2>&1 || fail "the longest name and the smallest limit"
[ "$(attached_status "$longest" chunk_bytes),$(attached_status "$longest" limit_bytes)" = 65536,65536 ] || fail "not what was asked for"
"$UMBRA" detach "$longest"
"$UMBRA" attach --chunk 4096 "$WORK/v.origin" "$longest" >/dev/null 2>&1 || fail "the smallest chunk"
"$UMBRA" detach "$longest"
no_attached_left

for name in "$(name_of 64)" .hidden -dash sl/ash ""; do refused "is no name for an attached volume" -- "$WORK/v.origin" "$name"; done
for chunk in 2048 131072 12288 0 -4096 4096x; do refused "'chunk' cannot be '$chunk'" "--chunk=$chunk" "$WORK/v.origin" "test-$$-c"; done
for limit in 0 -1 x 99999999999999999999; do refused "'limit' cannot be '$limit'" "--limit=$limit" "$WORK/v.origin" "test-$$-l"; done
refused "a limit of 65535 bytes is less than one chunk \(65536 bytes\)" --chunk 65536 --limit 65535 "$WORK/v.origin" "test-$$-l"

# The table: eight options a line, a mebibyte in all.
table=$UMBRA_CONFIG_DIR/umbratab
eight=chunk=4096,chunk=4096,chunk=4096,chunk=4096,chunk=4096,chunk=4096,chunk=4096,full=drop-newest
echo "test-$$-t $WORK/v.origin $eight,limit=67108864" >"$table"
expect_status 1 "$UMBRA" attach --all
expect_output "umbratab' line 1: more than 8 options"
no_attached_left
ATTACHED=test-$$-t
cleanup_fn attached_away "$ATTACHED"
python3 -c 'import sys
line = sys.argv[2] + "\n"
sys.stdout.write("#" * ((1 << 20) - len(line) - 1) + "\n" + line)' x "$ATTACHED $WORK/v.origin $eight" >"$table"
expect_status 0 "$UMBRA" attach --all
[ "$(attached_status "$ATTACHED" chunk_bytes)" = 4096 ] || fail "the last line of the longest table does not count"
"$UMBRA" detach "$ATTACHED"
echo "# one line too many" >>"$table"
expect_status 1 "$UMBRA" attach --all
expect_output "reading '.*umbratab'"
no_attached_left
