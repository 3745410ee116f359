# Sourced after functions.sh and order.sh: umbra killed at random times, whatever it is doing, under load.
# shellcheck shell=bash

# Volumes a (ext4) and b (XFS), the order writer at work on both.
random_kills_setup() {
  make_volume a ext4 96M
  make_volume b xfs 320M
  mkdir "$WORK/a/tree"
  for i in {1..40}; do head -c 100000 /dev/urandom >"$WORK/a/tree/$i"; done
  order_start "$WORK/a" "$WORK/b"
}

random_command() {
  case $((RANDOM % 6)) in
    0) COMMAND=("$UMBRA" --quiet create --provider clone "$WORK/a" "$WORK/b") ;;
    1) COMMAND=("$UMBRA" --quiet create --provider files "$WORK/a" "$WORK/b") ;;
    2) COMMAND=("$UMBRA" --quiet run --of "$WORK/a" --provider clone -- tar -cf /dev/null "$WORK/a") ;;
    3) COMMAND=("$UMBRA" --quiet run --of "$WORK/b" --provider files -- find "$WORK/b" -type f -exec cksum {} +) ;;
    4) COMMAND=("$UMBRA" --quiet backup "$WORK/a/tree" --to "$WORK/backup") ;;
    5) COMMAND=("$UMBRA" --quiet create --provider null "$WORK/a" "$WORK/b") ;;
  esac
}

# kill_at_random MILLISECONDS_MAX: one command, killed; the volumes accept writes within a second
kill_at_random() {
  local delay status=0
  random_command
  delay=$(printf '0.%03d' $((RANDOM % $1)))
  "${COMMAND[@]}" >"$WORK/killed.out" 2>&1 &
  PID=$!
  # The time is what is random here; nothing is waited for.
  sleep "$delay"
  kill -KILL "$PID" 2>/dev/null || true
  wait "$PID" 2>/dev/null || status=$?
  for v in a b; do
    accepts_write "$WORK/$v" 1 || fail "killed after $delay s (${COMMAND[*]}): $v accepts no write within a second"
  done
  [ "$status" = 137 ] || [ "$status" = 0 ] || { cat "$WORK/killed.out"; fail "status $status: ${COMMAND[*]}"; }
  echo "$delay s, status $status: ${COMMAND[*]:1:2}"
}

# everything_gone: the next commands work, and after deleting what was finished nothing is left anywhere
everything_gone() {
  local left
  "$UMBRA" --quiet list sets >/dev/null 2>"$WORK/err" || { cat "$WORK/err"; fail "the next command does not work"; }
  "$UMBRA" --quiet delete --all 2>"$WORK/err" || { cat "$WORK/err"; fail "what was finished cannot be deleted"; }
  left=$(find "$UMBRA_RUNTIME_DIR" "$UMBRA_STATE_DIR" -type f ! -name '*lock*' ! -path '*/volumes/*')
  [ -z "$left" ] || fail "files are left: $left"
  left=$(awk -v w="$WORK/" 'index($2, w) == 1 && $2 !~ "^" w "(a|b)$" { print $2 }' /proc/mounts)
  [ -z "$left" ] || fail "mounts are left: $left"
  wait_for 5 no_loops_left || fail "loop devices are left: $(losetup -l)"
  wait_for 5 no_umbra_left || fail "processes are left"
}
no_loops_left() { ! losetup -nO BACK-FILE | grep "^$WORK/" | grep -qvE "^$WORK/[ab]\.img"; }
# By the executable and the directories that it was told, which are this test's own.
no_umbra_left() {
  local p
  for p in /proc/[0-9]*; do
    [ "$(readlink "$p/exe" 2>/dev/null)" = "$(readlink -f "$UMBRA")" ] &&
      tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qxF "UMBRA_STATE_DIR=$UMBRA_STATE_DIR" && return 1
  done
  return 0
}

# random_kills N: and in the end a set and a backup, as if nothing had been
random_kills() {
  local i
  for ((i = 1; i <= $1; i++)); do
    kill_at_random 900
    [ $((i % 5)) != 0 ] || everything_gone
  done
  everything_gone
  if [ -d "$WORK/backup" ]; then
    expect_status 0 "$UMBRA" ls "$WORK/backup"
  fi
  expect_status 0 "$UMBRA" --quiet backup "$WORK/a/tree" --to "$WORK/backup"
  expect_status 0 "$UMBRA" verify "$WORK/backup"
  SET_OPTIONS=()
  prove_set a b
  order_stop
}
