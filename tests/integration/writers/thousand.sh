#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes a set with a thousand writers, each a session of its own, where a process may have 1024 descriptors open
# unless it asks for more: each of them freezes and thaws; one more than there may be is refused.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume v ext4 48M
mkdir "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/writers"
ln -s "$BUILD/writers/scripted/scripted" "$UMBRA_CONFIG_DIR/writers.d/scripted"
script() { jq -n --argjson n "$1" --arg log "$WORK/log" '{$log, instances: [range($n) | {instance: "i\(.)"}]}' >"$UMBRA_CONFIG_DIR/writers/scripted.json"; }
ulimit -Sn 1024
count=1000
script "$count"
"$UMBRA" --json create --provider clone "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || fail "status $?: $(head -5 "$WORK/messages")"
[ "$(jq -r .set.consistency "$WORK/set")" = application ] || fail "$(head -5 "$WORK/messages")"
for event in prepare-backup freeze thaw shutdown; do
  [ "$(grep -c "^$event i" "$WORK/log")" = "$count" ] || fail "$event was heard by $(grep -c "^$event i" "$WORK/log") of $count"
done
[ "$(awk '{ print $NF }' "$WORK/log" | sort -u | wc -l)" = "$count" ] || fail "not a process each"
# What is started has the limit that umbra was given.
[ "$("$UMBRA" --quiet run --no-writers --of "$WORK/v" -- bash -c 'ulimit -Sn')" = 1024 ] || fail "a program got another limit than umbra had"
"$UMBRA" --quiet delete --all
script 1025
status=0; "$UMBRA" --quiet create --provider clone "$WORK/v" 2>"$WORK/messages" || status=$?
[ "$status" = 3 ] && grep -q "scripted.*1025 instances, more than 1024" "$WORK/messages" || fail "1025 writers: status $status: $(cat "$WORK/messages")"
"$UMBRA" --quiet delete --all
# Together with another program's.
script 1024
printf '#!/bin/sh\necho "{\\"name\\": \\"other\\"}"\n' >"$UMBRA_CONFIG_DIR/writers.d/other"
chmod 755 "$UMBRA_CONFIG_DIR/writers.d/other"
status=0; "$UMBRA" --quiet create --provider clone "$WORK/v" 2>"$WORK/messages" || status=$?
[ "$status" = 1 ] && grep -q "more than 1024 writers" "$WORK/messages" || fail "1025 writers of two programs: status $status: $(cat "$WORK/messages")"
