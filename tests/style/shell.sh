#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs shellcheck over every shell script of the repository; .shellcheckrc says what is left out and why.
. "$(dirname "$0")/../lib/functions.sh"
requires_program shellcheck

shopt -s globstar
cd "$TOP"
mapfile -t scripts < <(find .ci bench packaging tests tools -type f \( -name '*.sh' -o -name '*.bash-completion' \) 2>/dev/null
  grep -lE '^#!.*\bbash$' .ci/* bench/* tests/* tools/* 2>/dev/null)
[ ${#scripts[@]} -gt 5 ] || fail "only ${#scripts[@]} scripts found"
shellcheck --severity=warning "${scripts[@]}" || fail "shellcheck complains"
for script in tests/{integration,crash,interop,vm,style,long}/**/*.sh tests/{integration,crash,style,long}/*.sh; do
  [ -e "$script" ] || continue
  [ -x "$script" ] || fail "$script is not executable, so tests/run does not see it"
  sed -n '2,4p' "$script" | grep -qE '^# This test ' || fail "$script does not say in its first lines: # This test …"
done
