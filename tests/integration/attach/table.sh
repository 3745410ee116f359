#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches the volumes of an umbratab: all but those with a bad line, which are told by their number; a second time nothing is
# done; options of the table count.
# timeout: 60
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program python3

attached_device a 100M
one=$ATTACHED one_origin=$ORIGIN
attached_device b 100M
two=$ATTACHED two_origin=$ORIGIN
"$UMBRA" detach "$one"
"$UMBRA" detach "$two"
no_attached_left

expect_status 1 "$UMBRA" --config-dir "$WORK/config" attach --all
expect_output "$WORK/config/umbratab"
mkdir -p "$WORK/config"
table=$WORK/config/umbratab
printf '%s\n' '# volumes' '' "$one $one_origin" "$two  $two_origin chunk=5000" "bad-$$" "$two $two_origin full" >"$table"
expect_status 1 "$UMBRA" --config-dir "$WORK/config" attach --all
expect_output "umbratab' line 4: 'chunk' cannot be '5000'"
expect_output "line 5: 'bad-$$': a line is NAME DEVICE"
expect_output "line 6: option 'full' has no value"
[ -e "/dev/umbra/$one" ] || fail "the good line was not done"
[ ! -e "/dev/umbra/$two" ] || fail "a bad line was done"

printf '%s\n' "$one $one_origin" "$two	$two_origin	chunk=4096,limit=67108864" >"$table"
said=$("$UMBRA" --config-dir "$WORK/config" attach --all) || fail "attaching the rest failed"
[ "$said" = "attached 1" ] || fail "not one was attached"
[ "$(attached_status "$two" chunk_bytes),$(attached_status "$two" limit_bytes)" = 4096,67108864 ] || fail "the table's options do not count"
said=$("$UMBRA" --config-dir "$WORK/config" attach --all) || fail "what is attached already is a failure"
[ "$said" = "attached 0" ] || fail "something was attached twice"
expect_status 2 "$UMBRA" attach --all "$one_origin" "$one"
"$UMBRA" detach "$one"
"$UMBRA" detach "$two"
no_attached_left
