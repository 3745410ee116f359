# Sourced after functions.sh by tests that use the order proof (order-model.h).
# shellcheck shell=bash
ORDER_WRITE=$BUILD/tests/order-write ORDER_CHECK=$BUILD/tests/order-check
ORDER_SEED=${ORDER_SEED:-$RANDOM}
ORDER_DIRECTORIES=()

# order_start DIRECTORY[:synced]...: starts the writer in new directories "order" below these; returns when it is at work
order_start() {
  local d
  ORDER_DIRECTORIES=()
  for d in "$@"; do
    mkdir "${d%:synced}/order"
    case $d in *:synced) ORDER_DIRECTORIES+=("${d%:synced}/order:synced") ;; *) ORDER_DIRECTORIES+=("$d/order") ;; esac
  done
  rm -f "$WORK/progress"
  "$ORDER_WRITE" "$ORDER_SEED" "$WORK/progress" "${ORDER_DIRECTORIES[@]}" >"$WORK/last" &
  ORDER_PID=$!
  cleanup_fn kill_and_wait "$ORDER_PID"
  wait_for 30 order_reached 1 || fail "the order writer did not start"
}

order_progress() { echo $((10#$(cat "$WORK/progress"))); }
order_reached() { [ -e "$WORK/progress" ] && [ "$(order_progress)" -ge "$1" ]; }
# order_advance N: waits until N more operations are done
order_advance() {
  local wanted=$(($(order_progress) + $1))
  wait_for 60 order_reached "$wanted" || fail "the order writer is stuck at $(order_progress)"
}

# order_stop: ends the writer; LAST is its last operation
order_stop() {
  kill -TERM "$ORDER_PID"
  wait "$ORDER_PID" || fail "the order writer failed"
  LAST=$(cat "$WORK/last")
}

# order_judge AT_LEAST AT_MOST DIRECTORY...: fails unless these copies are the state after some K between the two; sets K
order_judge() {
  K=$("$ORDER_CHECK" --at-least "$1" --at-most "$2" "$ORDER_SEED" "${@:3}") || fail "not one instant (seed $ORDER_SEED): $K"
}
