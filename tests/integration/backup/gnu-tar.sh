#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test extracts an archive with GNU tar and the zstd program, and expects the tree that was saved; and that names in UTF-8
# need no extension that GNU tar does not know.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 setfattr setfacl setcap zstd tar jq

tree=$WORK/tree
make_everything "$tree"
setfacl -b "$tree/big" # ids above 2^31 in ACLs are kept as attributes, which GNU tar does not set for ACLs
rm "$tree/a"           # so does it with spaces in attributes' names, and with times before 1970 of hard links
rm "$tree/sub/hard"
name=$(live full "$tree")
mkdir "$WORK/out"
zstd -dcq "$WORK/target/$name/files.tar.zst" |
  tar --acls --xattrs --xattrs-include='*' --numeric-owner -xpf - -C "$WORK/out" 2>"$WORK/tar.log" ||
  { cat "$WORK/tar.log"; fail "GNU tar cannot extract it"; }
same_trees "$tree" "$WORK/out$tree"
# Only for the names that are not UTF-8.
[ "$(grep -c hdrcharset "$WORK/tar.log")" -le 2 ] || { cat "$WORK/tar.log"; fail "GNU tar has more to say than it should"; }
! grep -v hdrcharset "$WORK/tar.log" | grep -v 'in the future' | grep . || fail "GNU tar complains"
zstd -tq "$WORK/target/$name/index.zst" || fail "the index is no zstd file"
