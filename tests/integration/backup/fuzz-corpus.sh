#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives the index parser every input that was found interesting by fuzzing, and bytes of a good index changed at random places.
. "$(dirname "$0")/../../lib/functions.sh"
requires_program python3

corpus=("$TOP"/tests/fuzz/corpus/index/*)
[ ${#corpus[@]} -ge 10 ] || fail "the corpus is not there"
"$BUILD/tests/fuzz-index" "${corpus[@]}" || fail "the parser failed on the corpus"
mkdir "$WORK/changed"
python3 - "$WORK/changed" "${corpus[@]}" <<'END'
import random, sys
random.seed(7)
for number in range(2000):
    with open(random.choice(sys.argv[2:]), "rb") as f:
        data = bytearray(f.read())
    for _ in range(random.randint(1, 4)):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    with open(f"{sys.argv[1]}/{number}", "wb") as f:
        f.write(data)
END
"$BUILD/tests/fuzz-index" "$WORK"/changed/* || fail "the parser failed on a changed input"
