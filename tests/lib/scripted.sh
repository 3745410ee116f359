# Sourced after functions.sh: writers by script (umbra-writer-scripted(8)), with the log $LOG.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"
: "${BUILD:?functions.sh comes first}"

mkdir -p "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/writers"
LOG=$WORK/log
# scripted NAME INSTANCES-JSON [EVENTS-JSON]: puts the writer in place
scripted() {
  ln -sf "$BUILD/writers/scripted/scripted" "$UMBRA_CONFIG_DIR/writers.d/$1"
  jq -n --arg log "$LOG" --argjson instances "$2" --argjson events "${3:-{\}}" '{$log, $instances, $events}' >"$UMBRA_CONFIG_DIR/writers/$1.json"
}
# files PATH [PATTERN [RECURSIVE]]: a component's files, as JSON
files() { jq -nc --arg path "$1" --arg pattern "${2:-*}" --argjson recursive "${3:-true}" '[{$path, $pattern, $recursive}]'; }
# told INSTANCE: what it heard, on one line
told() { [ ! -e "$LOG" ] || awk -v i="$1" '$1 != "asked" && $2 == i { printf "%s%s", s, $1; s = " " }' "$LOG"; }
# asked INSTANCE COMPONENT KEY: what the library said at the last event that asked
asked() { awk -v i="$1" -v c="$2" '$1 == "asked" && $2 == i && $3 == c { line = $0 } END { print line }' "$LOG" | grep -oP "(?<= $3=)\S+"; }
