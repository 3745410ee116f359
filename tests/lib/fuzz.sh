# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by tests that give a fuzzer's program its corpus.
# shellcheck shell=bash

# replay_corpus PROGRAM CORPUS COUNT: every input of the corpus, and COUNT made of up to three of them, joined and changed at random places
replay_corpus() {
  local corpus=("$TOP/tests/fuzz/corpus/$2"/*)
  [ ${#corpus[@]} -ge 10 ] || fail "the corpus is not there"
  "$BUILD/tests/$1" "${corpus[@]}" || fail "$1 failed on the corpus"
  mkdir "$WORK/changed"
  python3 - "$3" "$WORK/changed" "${corpus[@]}" <<'END'
import random, sys
random.seed(7)
for number in range(int(sys.argv[1])):
    data = bytearray()
    for _ in range(random.randint(1, 3)):
        with open(random.choice(sys.argv[3:]), "rb") as f:
            data += f.read()
    for _ in range(random.randint(0, 4)):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    with open(f"{sys.argv[2]}/{number}", "wb") as f:
        f.write(data)
END
  "$BUILD/tests/$1" "$WORK"/changed/* || fail "$1 failed on a changed input"
}
