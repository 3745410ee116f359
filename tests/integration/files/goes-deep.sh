#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies directories 400 deep, their paths many times as long as a path may be for the kernel, changed between the rounds and right before
# the hold, and removes the copy; deeper than the limit is an error that says so.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program python3

cat >"$WORK/deep" <<'END'
import os, sys
action, top, depth, text = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
os.chdir(top)
for i in range(depth):
    name = f"directory-{i:05d}-" + "n" * (200 if depth < 300 else 10)
    if action == "make":
        os.mkdir(name)
    os.chdir(name)
    if action == "check" or action == "make":
        if action == "make" and i % 100 == 99:
            open("file", "w").write(str(i))
        if action == "check" and i % 100 == 99 and open("file").read() != str(i):
            sys.exit(f"the file at depth {i} differs")
if action == "check":
    sys.exit(open("last").read() != text)
open("last", "w").write(text)
END
make_volume v ext4 300M -N 20000
make_volume s ext4 300M -N 20000
STORAGE=$WORK/s/store; mkdir "$STORAGE"
mkdir "$WORK/v/top"
python3 "$WORK/deep" make "$WORK/v/top" 400 one
copy_of "$WORK/v" --named --prepared "python3 $WORK/deep write $WORK/v/top 400 two" \
  --precommitted "test ! -e $WORK/v/top || { python3 $WORK/deep write $WORK/v/top 400 three; mv $WORK/v/top $WORK/v/moved; }" \
  --then "python3 $WORK/deep check \$IMAGE/moved 400 three && test ! -e \$IMAGE/top" || fail "the deep copy differs"
mv "$WORK/v/moved" "$WORK/v/again"
copy_of "$WORK/v" --named --then "python3 $WORK/deep check \$IMAGE/again 400 three && test ! -e \$IMAGE/moved" || fail "the refreshed deep copy differs"
rm -r "$STORAGE"/kept-*
mkdir "$WORK/v/deeper"
python3 "$WORK/deep" make "$WORK/v/deeper" 290 four
! copy_of "$WORK/v" 2>/dev/null || fail "directories deeper than the limit were copied"
grep -q 'longer than 60000 bytes' "$WORK/drive" || fail "the limit is not named: $(cat "$WORK/drive")"
[ -z "$(ls "$STORAGE")" ] || fail "something is left in the storage"
