# Sourced after functions.sh: exec writers made for a test, that note what they are told in $WORK/events.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"

# make_writer NAME LEVEL [METADATA [SCRIPT]]: notes "NAME EVENT" for each event; METADATA is more of its document ('"timeouts": {…}'), SCRIPT is
# run at each event ($1), after the note
make_writer() {
  local name=$1 level=$2 metadata=${3:-'"components": []'} script=${4:-:}
  mkdir -p "$UMBRA_CONFIG_DIR/writers.d"
  {
    echo '#!/bin/bash'
    printf 'echo "%s $1" >>%q\n' "$name" "$WORK/events"
    printf '[ "$1" = identify ] && echo %q\n' "{\"name\": \"$name\", \"level\": \"$level\", $metadata}"
    printf '%s\n' "$script"
    echo 'exit 0'
  } >"$UMBRA_CONFIG_DIR/writers.d/$name"
  chmod 755 "$UMBRA_CONFIG_DIR/writers.d/$name"
}
limits() { printf '%s\n' "$@" >"$UMBRA_CONFIG_DIR/umbra.conf"; }
# events_of NAME: what it was told, on one line
events_of() { awk -v n="$1" '$1 == n { printf "%s%s", s, $2; s = " " } END { print "" }' "$WORK/events"; }
no_sets_left() { [ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set is left"; }
