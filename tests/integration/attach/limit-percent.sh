#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test limits the storage of an attached volume in percent: of the filesystem that holds it, of a device, as `list storage` shows it; of a
# persistent storage only when that is made; what is no percentage is refused.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq mkfs.ext4

make_volume place ext4 600M
total=$(stat -f -c '%b %S' "$WORK/place" | awk '{ print $1 * $2 }')
line() { "$UMBRA" --json list storage | jq --arg n "$1" '.storage[] | select(.attached == $n)'; }
# near NAME PERCENT TOTAL: the limit is that part of it, but for a chunk, and said to be
near() {
  line "$1" >"$WORK/line"
  jq -e --argjson p "$2" --argjson t "$3" '((.size_bytes - $t * $p / 100) | fabs) <= 16384 and ((.limit_percent - $p) | fabs) < 0.1' "$WORK/line" >/dev/null ||
    fail "$2% of $3 is $(cat "$WORK/line")"
}
attached_device a 300M --storage "$WORK/place" --limit 25%
near "$ATTACHED" 25 "$total"
"$UMBRA" list storage | grep -E "^DIRECTORY.*PERCENT" >/dev/null || fail "the table does not show it"
"$UMBRA" list storage | grep -E "$ATTACHED.* 25\.0 *$" >/dev/null || fail "$("$UMBRA" list storage)"
"$UMBRA" detach "$ATTACHED"

truncate -s 200M "$WORK/disk"
disk=$(losetup --find --show --direct-io=on "$WORK/disk")
cleanup_fn losetup -d "$disk"
attached_device b 300M --storage "$disk" --limit 50%
near "$ATTACHED" 50 $((200 * 1024 * 1024))
"$UMBRA" detach "$ATTACHED"

# A filesystem that has another size by now does not make a persistent storage another's.
attached_device c 300M --storage "$WORK/place" --limit 20% --persistent
near "$ATTACHED" 20 "$total"
"$UMBRA" detach "$ATTACHED"
"$UMBRA" attach --storage "$WORK/place" --limit 30% --persistent "$ORIGIN" "$ATTACHED" >/dev/null
near "$ATTACHED" 20 "$total"
"$UMBRA" detach "$ATTACHED"

for bad in 0% 101% % 5x% -5% 1000%; do
  expect_status 1 "$UMBRA" attach --limit "$bad" "$ORIGIN" other
  expect_output "'limit' cannot be '$bad'"
done
