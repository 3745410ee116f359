#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test asks for shadow copies of a volume that somebody else has frozen: each provider's set fails soon, in words, and the volume
# stays as frozen as it was: it is not ours to thaw.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 fsfreeze

make_volume v ext4 48M
echo text >"$WORK/v/file"
for provider in clone files null; do
  fsfreeze -f "$WORK/v"
  cleanup_fn fsfreeze -u "$WORK/v"
  status=0
  timeout 60 "$UMBRA" create --provider "$provider" "$WORK/v" >/dev/null 2>"$WORK/messages" || status=$?
  [ "$status" = 1 ] || fail "$provider: status $status: $(cat "$WORK/messages")"
  grep -q "'$WORK/v' is already frozen by someone else" "$WORK/messages" || fail "$provider: $(cat "$WORK/messages")"
  [ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "$provider left a set"
  # FITHAW succeeds only on a frozen filesystem.
  fsfreeze -u "$WORK/v" || fail "$provider thawed what somebody else had frozen"
  timeout 5 touch "$WORK/v/file" || fail "$provider left it stuck"
done
