#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test is scenario 2 of the answered system: front-end freezes before back-end before system, ten times, whatever their names; they thaw in reverse.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
requires_root

make_volume v ext4 32M
for ((run = 1; run <= 10; run++)); do
  rm -rf "$UMBRA_CONFIG_DIR/writers.d" "$WORK/events"
  # The names, and with them the order in which they are found, differ each time.
  f=w$RANDOM b=w1$RANDOM s=w2$RANDOM
  make_writer "$f.f" front-end; make_writer "$b.b" back-end; make_writer "$s.s" system
  expect_status 0 "$UMBRA" create --provider null "$WORK/v"
  order=$(awk '$2 == "freeze" { printf "%s ", substr($1, length($1)) }' "$WORK/events")
  [ "$order" = "f b s " ] || fail "run $run: frozen in the order $order"
  order=$(awk '$2 == "thaw" { printf "%s ", substr($1, length($1)) }' "$WORK/events")
  [ "$order" = "s b f " ] || fail "run $run: thawed in the order $order"
done
expect_status 0 "$UMBRA" delete --all
