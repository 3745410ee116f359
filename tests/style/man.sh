#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test holds every verb's --help against its man page: both know the same options, and there is a page for each verb.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program man

pages=$BUILD
[ -s "$pages/umbra.8" ] || fail "no man page umbra.8 in $pages"
verbs=$("$UMBRA" --help | grep -oE '^  [a-z]+' | tr -d ' ' | sort -u)
[ "$(wc -w <<<"$verbs")" -ge 10 ] || fail "umbra --help names only: $verbs"
text() { man -l "$1" 2>/dev/null | col -b; }
main_page=$(MANWIDTH=120 text "$pages/umbra.8")
for verb in $verbs; do
  [ "$verb" = help ] && continue
  grep -qE "umbra-$verb|^ +$verb( |\$)" <<<"$main_page" || fail "umbra(8) does not name $verb"
  page=$pages/umbra-$verb.8
  if [ -s "$page" ]; then page_text=$(MANWIDTH=120 text "$page"); else page_text=$main_page; fi
  help=$("$UMBRA" "$verb" --help) || fail "umbra $verb --help fails"
  for option in $(grep -oE -- '(^|[ ,[])--[a-z][a-z-]+' <<<"$help" | grep -oE -- '--[a-z-]+' | sort -u); do
    [ "$option" = --help ] || grep -qE -- "$option([^a-z-]|\$)" <<<"$page_text" || fail "the man page of $verb does not know $option"
  done
done
for page in "$pages"/*.[1-8]; do
  page_text=$(text "$page")
  grep -q '^NAME' <<<"$page_text" || fail "$page does not come out as a man page"
  warnings=$(man --warnings -l "$page" 2>&1 >/dev/null | grep -v 'cannot adjust' || true)
  [ -z "$warnings" ] || fail "$page: $warnings"
done
