#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives what reads the kernel's descriptors of ublk requests every input of the fuzzer's corpus, and these changed
# at random places.
. "$(dirname "$0")/../../lib/functions.sh"
requires_program python3

corpus=("$TOP"/tests/fuzz/corpus/ublk/*)
[ ${#corpus[@]} -ge 10 ] || fail "the corpus is not there"
"$BUILD/tests/fuzz-ublk" "${corpus[@]}" || fail "it failed on the corpus"
mkdir "$WORK/changed"
python3 - "$WORK/changed" "${corpus[@]}" <<'END'
import random, sys
random.seed(7)
for number in range(500):
    data = bytearray()
    for _ in range(random.randint(1, 3)):
        with open(random.choice(sys.argv[2:]), "rb") as f:
            data += f.read()
    for _ in range(random.randint(0, 4)):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    with open(f"{sys.argv[1]}/{number}", "wb") as f:
        f.write(data)
END
"$BUILD/tests/fuzz-ublk" "$WORK"/changed/* || fail "it failed on a changed input"
