#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives tests/run scripts that fail, skip, hang, report and leave things behind, and expects each to be caught.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_root
requires_program losetup mkfs.ext4 fsfreeze setpriv

mkdir -p "$WORK/top/tests/integration/a" "$WORK/top/build"
cp "$TOP/tests/run" "$WORK/top/tests/run"
script() { { echo "#!/bin/bash"; cat; } >"$WORK/top/tests/integration/a/$1.sh"; chmod +x "$WORK/top/tests/integration/a/$1.sh"; }

script passes <<<'exit 0'
script fails <<<'exit 3'
script skips <<<'echo "SKIP: no such thing"; exit 77'
script leaves-process <<<'setsid sleep 600 & exit 0'
script leaves-file <<<'touch "$UMBRA_TEST_DIRECTORY/x"'
script leaves-mount <<<'mkdir "$UMBRA_TEST_DIRECTORY/m"; mount -t tmpfs none "$UMBRA_TEST_DIRECTORY/m"'
# Others take loop devices at the same time, and losetup gives up after some tries.
script leaves-loop <<<'truncate -s 1M "$UMBRA_TEST_DIRECTORY/i"; until losetup -f "$UMBRA_TEST_DIRECTORY/i"; do :; done; rm "$UMBRA_TEST_DIRECTORY/i"'
script reports-as-nobody <<'END'
log=${ASAN_OPTIONS#*log_path=}
setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'echo finding >"$1.1"' - "${log%%:*}"
END
script leaves-frozen <<'END'
# timeout: 3
cd "$UMBRA_TEST_DIRECTORY"; truncate -s 16M i; mkfs.ext4 -q i; mkdir m; mount -o loop i m; fsfreeze -f m; touch m/x
END

# What others do to the machine meanwhile is not this test's.
run_it() { UMBRA_TESTS_SHARED=yes env -u UMBRA_BUILD -u UMBRA_TESTS_REQUIRE "$@" >"$WORK/out" 2>&1; }
run_it "$WORK/top/tests/run" && fail "a run with failures ended with status 0"
verdict() { grep -qE "^$1 .* integration/a/$2  ?.*$3" "$WORK/out" || { cat "$WORK/out"; fail "$2: expected $1 $3"; }; }
grep -qE '^ok .* integration/a/passes$' "$WORK/out" || fail "passes did not pass"
verdict FAIL fails 'status 3'
verdict skip skips 'no such thing'
verdict FAIL leaves-process 'left process'
verdict FAIL leaves-file 'left files'
verdict FAIL leaves-mount 'left mount'
verdict FAIL leaves-loop 'left loop device'
verdict FAIL reports-as-nobody 'sanitizer report'
grep -qx finding "$WORK/out" || fail "the sanitizer's report is not shown"
verdict FAIL leaves-frozen 'no end after 3 s'
[ "$(tail -n 1 "$WORK/out")" = "1 passed, 7 failed, 1 skipped" ] || { tail -n 3 "$WORK/out"; fail "the total is wrong"; }

run_it UMBRA_TESTS_REQUIRE=all "$WORK/top/tests/run" skips && fail "skipped did not count as failed"
verdict FAIL skips 'skipped: no such thing'
