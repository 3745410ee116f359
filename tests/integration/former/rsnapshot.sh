#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs rsnapshot over a shadow copy: its copy is what the shadow copy showed.
# not-under: asan
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/former.sh"
requires_root
requires_program rsnapshot

make_volume v ext4 128M
make_tree "$WORK/v/tree"
start_churn "$WORK/v/tree"
mkdir "$WORK/out"
{
  printf "config_version\t1.2\nsnapshot_root\t%s/out/\nno_create_root\t1\ncmd_rsync\t/usr/bin/rsync\n" "$WORK"
  printf "rsync_long_args\t--delete --numeric-ids --relative -H --modify-window=-1\nlockfile\t%s/rsnapshot.pid\nretain\talpha\t3\n" "$WORK"
  printf "backup\t%s/v/tree/\there/\n" "$WORK"
} >"$WORK/rsnapshot.conf"
in_shadow "rsnapshot -c $WORK/rsnapshot.conf alpha"
same_tree "$WORK/out/alpha.0/here$WORK/v/tree"
