#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies 20,000 files in flat and in nested directories, twice from a kept store, and finds every change among them; what is looked at under
# the hold is spread over threads and blocks of the table.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"
requires_program python3

make_volume v ext4 300M -N 60000
make_volume s ext4 300M -N 60000
STORAGE=$WORK/s/store; mkdir "$STORAGE"
python3 - "$WORK/v" <<'END'
import os, sys
os.chdir(sys.argv[1])
os.mkdir("flat")
for i in range(10000):
    open(f"flat/{'long-name-' * (i % 20)}{i}", "w").write(f"{i}\n")
for i in range(500):
    os.makedirs(f"nested/{i % 10}/{i}")
    for k in range(20):
        open(f"nested/{i % 10}/{i}/{k}", "w").write(f"{i} {k}\n")
END
change() {
  echo "rm $1/flat/*77; for i in 1 22 333; do for f in $1/nested/[0-9]/\$i/1$2; do echo changed$2 >\$f; done; done; mv $1/nested/4 $1/nested/x$2; echo new >$1/flat/!new$2; echo new >$1/flat/zz$2; true"
}
for n in 2 4; do
  copy_of "$WORK/v" --named --prepared "$(change "$WORK/v" $n)" --precommitted "$(change "$WORK/v" $((n + 1))); mkdir $WORK/v/nested/4; cp -r $WORK/v/nested/5 $WORK/v/nested/4/" \
    --then "$SAME_TREE $WORK/v \$IMAGE --exclude /lost+found" || fail "the copy differs"
  rm -r "$WORK"/v/nested/x*
done
