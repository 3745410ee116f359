#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 19 of the answered system, of its restore methods that of files that are there already (of the writer's one component, not the other's), and that of a
# writer that says no; at-reboot has no counterpart yet, stopping a service is the writers' own.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4
. "$TOP/tests/lib/scripted.sh"
BETEST=$BUILD/tests/betest

make_volume v ext4 64M
mkdir "$WORK/v/kept" "$WORK/v/replaced"
for d in kept replaced; do echo saved >"$WORK/v/$d/a"; echo saved >"$WORK/v/$d/b"; done
instances="[{\"components\": [{\"name\": \"kept\", \"files\": $(files "$WORK/v/kept"), \"restore_method\": \"if-not-there\"},
  {\"name\": \"replaced\", \"files\": $(files "$WORK/v/replaced")}]}]"
scripted w "$instances"
"$BETEST" backup "$WORK/backup" w:kept w:replaced || fail "status $?"
expect_status 0 "$UMBRA" --quiet backup --provider files --component w:kept --component w:replaced --to "$WORK/umbra"
change() { for d in kept replaced; do echo newer >"$WORK/v/$d/a"; rm -f "$WORK/v/$d/b"; done; }
state() { cat "$WORK"/v/{kept,replaced}/{a,b} 2>&1 | tr '\n' ' '; }
for how in betest umbra; do
  change
  if [ "$how" = betest ]; then "$BETEST" restore "$WORK/backup"; else "$UMBRA" --quiet restore --component w:kept --component w:replaced "$WORK/umbra" >/dev/null; fi || fail "$how: status $?"
  [ "$(state)" = "newer saved saved saved " ] || fail "$how: $(state)"
done
scripted w "$instances" '{"pre-restore": {"fail": "somebody uses it"}}'
change
expect_status 1 "$UMBRA" restore --component w:kept "$WORK/umbra"
expect_output "somebody uses it"
expect_status 1 "$BETEST" restore "$WORK/backup"
expect_output "somebody uses it"
[ ! -e "$WORK/v/kept/b" ] && [ ! -e "$WORK/v/replaced/b" ] || fail "restored though the writer refused"
