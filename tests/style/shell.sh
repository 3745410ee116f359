#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs shellcheck over every shell script of the repository; .shellcheckrc says what is left out and why.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program shellcheck

shopt -s globstar
cd "$TOP"
mapfile -t scripts < <(find .ci bench packaging tests tools -type f \( -name '*.sh' -o -name '*.bash-completion' \) 2>/dev/null
  grep -lE '^#!.*\bbash$' .ci/* bench/* tests/* tools/* 2>/dev/null)
[ ${#scripts[@]} -gt 5 ] || fail "only ${#scripts[@]} scripts found"
printf '%s\0' "${scripts[@]}" | sort -zu | xargs -0 -n 16 -P 2 shellcheck --severity=warning || fail "shellcheck complains"
for script in tests/{integration,crash,interop,vm,style,long}/**/*.sh tests/{integration,crash,style,long}/*.sh; do
  [ -e "$script" ] || continue
  # Without a first line that says what runs it, it is sourced by others.
  head -c 2 "$script" | grep -q '#!' || continue
  [ -x "$script" ] || fail "$script is not executable, so tests/run does not see it"
  sed -n '2,4p' "$script" | grep -E '^# This test ' >/dev/null || fail "$script does not say in its first lines: # This test …"
done
