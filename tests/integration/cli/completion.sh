#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test completes command lines as bash does at a press of Tab: verbs, options of a verb, values, files, programs under run; every verb
# and option offered is one that the program's own help knows.
. "$(dirname "$0")/../../lib/functions.sh"
[ -r /usr/share/bash-completion/bash_completion ] || skip "bash-completion is not installed"

cat >"$WORK/complete" <<'END'
# complete WORD...: what is offered for the last word
set +eu
. /usr/share/bash-completion/bash_completion
. "$TOP/packaging/umbra.bash-completion"
COMP_WORDS=("$UMBRA" "$@") COMP_CWORD=$#
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
_umbra
printf '%s\n' "${COMPREPLY[@]}"
END
export TOP UMBRA
offers() {
  local offered
  offered=$(bash "$WORK/complete" "${@:2}")
  grep -qxF -- "$1" <<<"$offered" || fail "'umbra ${*:2}' does not offer '$1': $offered"
}
offers create cr
offers backup ''
offers --provider create --p
offers --type backup --t
offers incremental backup --type inc
offers instant run --require i
offers clone create --provider cl
offers shadows --json list sh
cd "$WORK"; touch some-file
offers some-file backup some-f
offers --to --quiet restore --t
offers true run --of / -- tru

# What is offered exists.
for verb in $(bash "$WORK/complete" ''); do
  [ "$verb" = help ] && continue
  help=$("$UMBRA" "$verb" --help) || fail "the verb '$verb' is offered, but 'umbra $verb --help' fails"
  for option in $(bash "$WORK/complete" "$verb" --); do
    [ "$option" = -- ] || [ "$option" = --help ] || grep -qE -- "$option([ =,]|\$)" <<<"$help" ||
      fail "'$option' is offered for $verb, but its help does not know it"
  done
  # And the other way round: nothing is forgotten.
  for option in $(grep -oE '^ +--[a-z-]+' <<<"$help" | tr -d ' '); do offers "$option" "$verb" "$option"; done
done
