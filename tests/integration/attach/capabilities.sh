#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test looks at the capabilities of the two programs of an attached volume, and of those that take their place when they are killed: no more than
# SECURITY.md says of one with front fuse and without device-mapper, in no set; an image file of somebody else is opened anew all the same.
# timeout: 120
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program capsh python3

allowed=cap_dac_override,cap_ipc_lock,cap_sys_resource
# limited ROLE PID
limited() {
  local set has
  for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    has=$(awk -v set="$set:" '$1 == set { print $2 }' "/proc/$2/status")
    [ -n "$has" ] || fail "$1: no $set"
    for name in $(capsh --decode="$has" | cut -d= -f2 | tr ',' ' '); do
      [[ ,$allowed, = *,$name,* ]] || fail "$1 has $name in $set"
    done
  done
  # What this test itself may: it cannot be more.
  capsh --decode="$(awk '$1 == "CapEff:" { print $2 }' "/proc/$2/status")" | grep -q cap_dac_override || fail "$1 lacks what it needs"
}
both_limited() {
  limited "the $1 server" "$(attached_status "$ATTACHED" pid)"
  limited "the $1 supervisor" "$(attached_status "$ATTACHED" supervisor_pid)"
}

ATTACHED=test-$$-v
truncate -s 100M "$WORK/image"
chown nobody "$WORK/image"
chmod 600 "$WORK/image"
cleanup_fn attached_away "$ATTACHED"
"$UMBRA" attach --front fuse "$WORK/image" "$ATTACHED" >/dev/null
mkfs.ext4 -q "/dev/umbra/$ATTACHED"
both_limited first
for field in pid supervisor_pid pid; do
  pid=$(attached_status "$ATTACHED" "$field")
  kill -KILL "$pid"
  another() { local now; now=$(attached_status "$ATTACHED" "$field") && [ "$now" != "$pid" ] && [ "$now" -gt 0 ]; }
  wait_for 20 another || fail "nobody took the place of $field"
done
both_limited next
e2fsck -fn "/dev/umbra/$ATTACHED" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the volume is damaged"; }
"$UMBRA" detach "$ATTACHED"
