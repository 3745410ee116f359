#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies a file with the example, and sees that all that belongs to it has come along.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program mkfs.ext4 setfattr

make_volume v ext4 32M
cd "$WORK/v"
head -c 200000 /dev/urandom >from
setfattr -n user.comment -v words from
chown 7:8 from && chmod 2640 from
"$BUILD/examples/stream-copy" from to || fail "status $?"
cmp from to
[ "$(stat -c '%a %u %g' to)" = "2640 7 8" ] && [ "$(getfattr -n user.comment --only-values to)" = words ] || fail "$(stat to)"
