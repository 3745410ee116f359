#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up and restores what is odd: an empty file, names with newlines and bytes that are no UTF-8, a sparse file of 2 TiB, and
# a file that grows all the time. With clone and with files.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root

make_volume v ext4 96M
mkdir "$WORK/v/tree"
cd "$WORK/v/tree"
: >empty
echo one >$'with\nnewline'
echo two >$'no-utf8-\xff\xfe'
mkdir $'d\xc3\x28\n' && echo three >$'d\xc3\x28\n/f'
truncate -s 2T sparse && printf end | dd of=sparse bs=1 seek=1099511627776 conv=notrunc status=none
echo x >' ' && echo y >'-rf' && echo z >'*'
ln -s $'tar\nget\xff' link
cd "$TOP"
grow() { while :; do printf '%0100d\n' {1..50}; sleep 0.01; done >>"$WORK/v/tree/grows"; }
background grow
wait_for 10 test -s "$WORK/v/tree/grows"

for provider in clone files; do
  expect_status 0 "$UMBRA" backup --no-writers --provider "$provider" "$WORK/v/tree" --to "$WORK/backup"
  expect_status 0 "$UMBRA" verify "$WORK/backup"
  expect_status 0 "$UMBRA" ls "$WORK/backup"
  expect_status 0 "$UMBRA" restore "$WORK/backup" --to "$WORK/out"
  got=$WORK/out$WORK/v/tree
  [ -e "$got/empty" ] && [ ! -s "$got/empty" ] || fail "$provider: the empty file"
  cmp "$WORK/v/tree/"$'with\nnewline' "$got/"$'with\nnewline' || fail "$provider: a newline in a name"
  cmp "$WORK/v/tree/"$'no-utf8-\xff\xfe' "$got/"$'no-utf8-\xff\xfe' || fail "$provider: a name that is no UTF-8"
  cmp "$WORK/v/tree/"$'d\xc3\x28\n/f' "$got/"$'d\xc3\x28\n/f' || fail "$provider: a directory that is no UTF-8"
  [ "$(readlink "$got/link")" = $'tar\nget\xff' ] || fail "$provider: a link's target"
  for f in ' ' '-rf' '*'; do cmp "$WORK/v/tree/$f" "$got/$f" || fail "$provider: '$f'"; done
  [ "$(stat -c %s "$got/sparse")" = 2199023255552 ] || fail "$provider: the sparse file has $(stat -c %s "$got/sparse") bytes"
  [ "$(stat -c %b "$got/sparse")" -lt 4096 ] || fail "$provider: the sparse file takes $(stat -c %b "$got/sparse") blocks"
  [ "$(dd if="$got/sparse" bs=1 skip=1099511627776 count=3 status=none)" = end ] || fail "$provider: the sparse file's data"
  # Some prefix of what it was to become, in whole lines of a whole length.
  [ -s "$got/grows" ] && cmp -n "$(stat -c %s "$got/grows")" "$got/grows" "$WORK/v/tree/grows" || fail "$provider: the growing file"
  rm -rf "$WORK/out" "$WORK/backup"
done
