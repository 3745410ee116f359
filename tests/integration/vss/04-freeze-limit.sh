#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 4 of the answered system: a writer that overstays the freeze limit fails the set; the others hear abort, nothing is left.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 32M
limits 'freeze_limit_ms = 1500'
make_writer good back-end
make_writer late system '"components": []' '[ "$1" = freeze ] && exec sleep 60'
began=$SECONDS
expect_status 1 "$UMBRA" create --provider null "$WORK/v"
expect_output 'late'
[ $((SECONDS - began)) -le 10 ] || fail "it took $((SECONDS - began)) s"
[[ "$(events_of good)" == *" freeze "*abort* ]] || fail "the other writer was told: $(events_of good)"
[[ "$(events_of late)" == *abort* ]] || fail "the late one was told: $(events_of late)"
accepts_write "$WORK/v" 1 || fail "the volume is frozen"
no_sets_left

# Its own limit has not come, but that of those frozen before it: it is still the one to name.
rm "$UMBRA_CONFIG_DIR/writers.d/good" "$WORK/events"
limits 'freeze_limit_ms = 3000'
make_writer slow front-end '"components": []' '[ "$1" = freeze ] && sleep 1.5'
expect_status 1 "$UMBRA" create --provider null "$WORK/v"
expect_output "'late'"
[[ "$(events_of slow)" == *" freeze "*abort* ]] || fail "the slow writer was told: $(events_of slow)"
[[ "$(events_of late)" == *abort* ]] || fail "the late one was told: $(events_of late)"
accepts_write "$WORK/v" 1 || fail "the volume is frozen"
no_sets_left

# The time runs out while one that failed is being told abort: that is not cut short, nobody is frozen any more, and nobody innocent is named.
for system in aaa sys; do
  rm -f "$UMBRA_CONFIG_DIR"/writers.d/* "$WORK/events"
  limits 'freeze_limit_ms = 2000'
  make_writer good front-end
  make_writer bad back-end '"components": []' '[ "$1" = freeze ] && exit 1; [ "$1" = abort ] && { sleep 3 & wait; echo "bad aborted" >>'"'$WORK/events'"'; }'
  make_writer "$system" system
  expect_status 1 "$UMBRA" create --provider null "$WORK/v"
  expect_output 'writers were frozen longer than their limit allows'
  [[ "$(events_of "$system")" != *freeze* ]] || fail "$system was frozen after the limit: $(events_of "$system")"
  [[ "$(events_of good)" == *" freeze "*abort* ]] || fail "the other writer was told: $(events_of good)"
  [ "$(grep -c '^bad abort$' "$WORK/events")" = 1 ] || fail "the one that failed was told: $(events_of bad)"
  accepts_write "$WORK/v" 1 || fail "the volume is frozen"
  no_sets_left
done
