#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test proves with ordered operations that one set of two attached volumes, ext4 and XFS, and a plain one that is cloned shows all
# three at one instant, and that each volume has the provider that is meant for it.
# timeout: 180
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
. "$(dirname "$0")/../../lib/order.sh"
requires_root
requires_program jq mkfs.xfs xfs_repair
SETS=${SETS:-3}

attached_volume e ext4 300M
attached_volume x xfs 300M
make_volume plain ext4 100M
order_start "$WORK/e" "$WORK/x" "$WORK/plain"
for ((i = 0; i < SETS; i++)); do
  order_advance 200
  prove_set e x plain
  providers=$(jq -r '[.shadows[] | (.volume | split("/") | last) + "=" + .provider] | sort | join(" ")' <<<"$SET")
  [ "$providers" = "e=cow plain=clone x=cow" ] || fail "providers: $providers"
  echo "state after operation $K"
done
order_stop
