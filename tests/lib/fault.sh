# Sourced after functions.sh by tests that kill, stop or deceive at a given step of a set's life.
# shellcheck shell=bash
#
# A writer ("witness") and an exec provider ("fault") are put into the test's configuration. Both note each call in
# $WORK/witness.log, and at the step named in $WORK/fault ("writer freeze KILL", "provider commit STOP") signal their parent, which
# is the umbra that makes the set, and leave the time in $WORK/struck. The steps pass every state of the table, in this order:
#   writer identify (gathering), prepare-backup, provider prepare (preparing), writer prepare-snapshot, freeze (freezing),
#   provider precommit (precommitting), commit (holding, committing: the volumes are frozen), writer thaw (thawing),
#   provider postcommit (postcommitting), writer post-snapshot.
: "${WORK:?functions.sh comes first}"
FAULT_STEPS=(writer:identify writer:prepare-backup provider:prepare writer:prepare-snapshot writer:freeze
  provider:precommit provider:commit writer:thaw provider:postcommit writer:post-snapshot)

fault_setup() {
  mkdir -p "$UMBRA_CONFIG_DIR/writers.d" "$UMBRA_CONFIG_DIR/providers.d" "$WORK/made"
  cp "$TOP/tests/lib/fault-writer" "$UMBRA_CONFIG_DIR/writers.d/witness"
  cp "$TOP/tests/lib/fault-provider" "$UMBRA_CONFIG_DIR/providers.d/fault"
  export FAULT_WORK=$WORK
  fault_limits
}

# The test's own limits (HOLD_LIMIT_MS, FREEZE_LIMIT_MS) hold for the set that is struck and no other: on a busy machine a sound set
# may well take longer.
fault_limits() {
  printf 'hold_limit_ms = %s\nfreeze_limit_ms = %s\n' "${1:-10000}" "${2:-60000}" >"$UMBRA_CONFIG_DIR/umbra.conf"
}

# fault_at KIND:STEP ACTION: the next set is struck there. ACTION: KILL or STOP (the coordinator), SELF-KILL, SELF-STOP,
# GUARDIAN-KILL, or a word that fault-writer knows (hang, lie, flood, fork).
fault_at() {
  rm -f "$WORK/struck"
  : >"$WORK/witness.log"
  echo "${1%%:*} ${1#*:} $2" >"$WORK/fault"
  fault_limits "${HOLD_LIMIT_MS:-}" "${FREEZE_LIMIT_MS:-}"
}
no_fault() { rm -f "$WORK/fault" "$WORK/struck"; : >"$WORK/witness.log"; fault_limits; }
struck() { [ -s "$WORK/struck" ]; }

# start_set VOLUME...: umbra create of the volumes in the background; PID, its output in $WORK/create
start_set() {
  "$UMBRA" --json create --provider fault "${@/#/$WORK/}" >"$WORK/create" 2>"$WORK/create.err" &
  PID=$!
  cleanup_fn kill_and_wait "$PID"
}

# writes_within SECONDS NAME...: each volume accepts a write within that time
writes_within() {
  local seconds=$1 name; shift
  for name in "$@"; do
    accepts_write "$WORK/$name" "$seconds" || fail "$name accepts no write within $seconds s ($(cat "$WORK/fault"))"
  done
}

# Every writer that was frozen has been told thaw or abort since.
told_after_freeze() {
  awk '$1 == "writer" && $2 == "freeze" { frozen = 1 }
       $1 == "writer" && ($2 == "thaw" || $2 == "abort") { frozen = 0 } END { exit frozen }' "$WORK/witness.log"
}

# nothing_left NAME...: what the dead or failed set made is gone, and the next command works, a whole set of the volumes too
nothing_left() {
  local id
  no_fault
  "$UMBRA" --json list sets >"$WORK/list" 2>"$WORK/list.err" || { cat "$WORK/list.err"; fail "the next command does not work"; }
  [ "$(jq '.sets | length' "$WORK/list")" = 0 ] || fail "a set is left: $(cat "$WORK/list")"
  [ -z "$(ls "$WORK/made")" ] || fail "provider remove was not called: $(ls "$WORK/made")"
  [ -z "$(find "$UMBRA_RUNTIME_DIR/sets" -name '*.json' 2>/dev/null)" ] || fail "the journal has an entry left"
  if awk -v w="$WORK/" 'index($2, w) == 1' /proc/mounts | grep -qv " $WORK/[^/ ]* "; then fail "a mount is left"; fi
  "$UMBRA" --json create --provider fault "${@/#/$WORK/}" >"$WORK/next" 2>"$WORK/next.err" ||
    { cat "$WORK/next.err"; fail "the next set does not work"; }
  id=$(jq -r .set.id "$WORK/next")
  "$UMBRA" delete "$id" 2>"$WORK/next.err" || { cat "$WORK/next.err"; fail "the next set cannot be deleted"; }
  [ -z "$(ls "$WORK/made")" ] || fail "delete left something"
}
