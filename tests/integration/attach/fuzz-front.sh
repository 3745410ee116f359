#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives the FUSE front every input that was found interesting by fuzzing, and these joined and changed at random places.
. "$(dirname "$0")/../../lib/functions.sh"
requires_program python3

corpus=("$TOP"/tests/fuzz/corpus/fuse/*)
[ ${#corpus[@]} -ge 10 ] || fail "the corpus is not there"
"$BUILD/tests/fuzz-fuse" "${corpus[@]}" || fail "it failed on the corpus"
mkdir "$WORK/changed"
python3 - "$WORK/changed" "${corpus[@]}" <<'END2'
import random, sys
random.seed(11)
for number in range(200):
    data = bytearray()
    for _ in range(random.randint(1, 3)):
        with open(random.choice(sys.argv[2:]), "rb") as f:
            data += f.read()
    for _ in range(random.randint(0, 4)):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    with open(f"{sys.argv[1]}/{number}", "wb") as f:
        f.write(data)
END2
"$BUILD/tests/fuzz-fuse" "$WORK"/changed/* || fail "it failed on a changed input"
