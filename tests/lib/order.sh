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

# ---- sets made while the writer is at work ----
# prove_set NAME... : makes one set of the volumes $WORK/NAME with ${SET_OPTIONS[@]} while the writer goes on, shows each shadow
# copy and judges them together: one instant, at or after the command's begin and not after its end. Then each
# image is checked by its own filesystem's tool, and the set is deleted. SET: the set's JSON document.
SET_OPTIONS=()
prove_set() {
  local before after name id directory copies=()
  before=$(order_progress)
  "$UMBRA" --json create --no-writers "${SET_OPTIONS[@]}" "${@/#/$WORK/}" >"$WORK/set.json" || fail "create failed"
  after=$(order_progress)
  SET=$(jq -e .set "$WORK/set.json") || fail "create --json printed no set"
  [ "$(jq -r .instant <<<"$SET")" = set ] || fail "the set does not claim one instant: $SET"
  [ "$(jq '.shadows | length' <<<"$SET")" = $# ] || fail "not $# shadow copies: $SET"
  for name in "$@"; do
    id=$(jq -er --arg v "$WORK/$name" '.shadows[] | select(.volume == $v) | .id' <<<"$SET") || fail "no shadow copy of $name"
    directory=$("$UMBRA" mount "$id") || fail "mount of $name failed"
    copies+=("$directory/order")
  done
  order_judge "$before" "$((after + 1))" "${copies[@]}"
  for directory in "${copies[@]}"; do
    check_image "${directory%/order}"
    "$UMBRA" unmount "${directory%/order}" || fail "unmount of ${directory%/order} failed"
  done
  "$UMBRA" delete "$(jq -r .id <<<"$SET")" || fail "delete failed"
}

# check_image DIRECTORY: fsck of what a shadow copy that is shown there lies on, if it is an image
check_image() {
  local device image
  device=$(findmnt -no SOURCE "$1")
  case $(findmnt -no FSTYPE "$1"),$device in
    *"["*) ;; # a directory of a volume that lies on such a device
    ext*,/dev/loop*) e2fsck -fn "$device" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck"; fail "e2fsck: $1 is not clean"; } ;;
    xfs,/dev/loop*)
      # A frozen XFS leaves its superblock's free-block counter in the log, on purpose (xfs_fs_freeze() ends with a dirty
      # record), and xfs_repair -n looks past the log. So a copy is mounted once, as a restored volume would be.
      image=$WORK/image-copy
      cp --sparse=always "$device" "$image"
      mkdir -p "$WORK/image-mount"
      mount -t xfs -o loop,nouuid "$image" "$WORK/image-mount" || fail "$1 does not mount"
      umount "$WORK/image-mount"
      xfs_repair -n -f "$image" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck"; fail "xfs_repair -n: $1 is not clean"; }
      rm -f "$image"
      ;;
  esac
}

# prove_sets N NAME...: N of them in a row; nothing is left of them
prove_sets() {
  local round
  for ((round = 1; round <= $1; round++)); do
    order_advance 50
    prove_set "${@:2}"
    echo "set $round: one instant at operation $K, held $(jq .hold_ms <<<"$SET") ms"
  done
  [ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "sets are left in the catalogue"
}

# check_btrfs NAME: the volume itself, once nobody writes. A mount namespace that somebody made meanwhile (another test's `umbra run`)
# holds a copy of the mount, and so the device, for as long as it lives.
check_btrfs() {
  local device
  device=$(losetup -nO NAME -j "$WORK/$1.img" | tr -d ' ')
  umount "$WORK/$1"
  # A mount namespace that somebody made meanwhile may keep the volume mounted for a while.
  wait_for 60 btrfs check --readonly "$device" ||
    { btrfs check --readonly "$device" || true; fail "btrfs check: $1 is not clean"; }
}
