#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives the order proof copies that are one instant and copies that are not, and expects the right verdict on each:
# the final state on every filesystem, copies made under the kernel's own freeze, and copies made of the live directories.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/order.sh"
requires_root
requires_program mkfs.ext4 mkfs.xfs mkfs.btrfs fsfreeze

make_volume a ext4 64M
make_volume b xfs 320M
make_volume c btrfs 128M
order_start "$WORK/a" "$WORK/b" "$WORK/c:synced"

# Copied one directory after the other while it goes on: no instant.
order_advance 500
mkdir "$WORK/live"
for v in a b c; do
  order_advance 100
  cp -a "$WORK/$v/order" "$WORK/live/$v" 2>/dev/null || true # files vanish under it
done
"$ORDER_CHECK" "$ORDER_SEED" "$WORK"/live/{a,b,c} >"$WORK/output" 2>&1 && fail "a copy of the live directories passed for one instant"

# Two held volumes, frozen one after the other, and a btrfs snapshot taken meanwhile: one instant.
for round in 1 2 3; do
  order_advance 200
  copy=$WORK/held$round before=$(order_progress)
  mkdir "$copy"
  fsfreeze -f "$WORK/a" && fsfreeze -f "$WORK/b"
  cp -a "$WORK/a/order" "$copy/a" && cp -a "$WORK/b/order" "$copy/b"
  btrfs -q subvolume snapshot -r "$WORK/c" "$WORK/c/snapshot$round"
  fsfreeze -u "$WORK/b" && fsfreeze -u "$WORK/a"
  after=$(order_progress)
  order_judge "$before" "$((after + 1))" "$copy"/{a,b} "$WORK/c/snapshot$round/order"
  echo "one instant at $K of $before…$after"
done

order_stop
order_judge "$LAST" "$LAST" "$WORK"/{a,b,c}/order

# One record less, one name more, one byte wrong: each is seen.
"$ORDER_CHECK" --at-least $((LAST + 1)) "$ORDER_SEED" "$WORK"/{a,b,c}/order >/dev/null && fail "a state below the bound passed"
"$ORDER_CHECK" "$((ORDER_SEED + 1))" "$WORK"/{a,b,c}/order >/dev/null && fail "another seed's state passed"
printf x | dd of="$WORK/a/order/direct" bs=1 seek=5000 conv=notrunc status=none
"$ORDER_CHECK" "$ORDER_SEED" "$WORK"/{a,b,c}/order >/dev/null && fail "a torn block passed"
true
