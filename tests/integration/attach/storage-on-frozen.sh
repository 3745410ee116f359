#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets of an attached volume and of the volume that its storage (and, the second time, its origin, an image file) lies on,
# while both are written to: the attached one has to be frozen first, since what is written to it is then copied to the other. The other way
# round the set could only fail at the hold's limit.
# timeout: 180
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/../../lib/attached.sh"
requires_root
requires_program jq fio

SETS=${SETS:-5}
# The volume below is another provider's, for which no writer is too fast.
SCRIPT=$UMBRA_CONFIG_DIR/script
mkdir "$UMBRA_CONFIG_DIR/providers.d" "$SCRIPT" "$SCRIPT/tree"
cp "$TOP/tests/lib/scripted-provider" "$UMBRA_CONFIG_DIR/providers.d/scripted"
echo "case \$document in *'\"$WORK/below\"'*) ;; *) echo '{\"can\": false, \"why\": \"not this one\"}'; exit 0 ;; esac" >"$SCRIPT/can"

# make_sets DIRECTORY: of it and of $WORK/below, while it is written to through the page cache
make_sets() {
  background fio --thread --name=dirty --directory="$1" --size=80M --rw=randwrite --bs=4k --ioengine=psync --time_based --runtime=600 \
    --output=/dev/null
  wait_for 30 test -s "$1/dirty.0.0" || fail "fio does not write"
  for ((i = 0; i < SETS; i++)); do
    "$UMBRA" --json create --no-writers --require instant "$1" "$WORK/below" >"$WORK/set" || { cat "$WORK/set" >&2; fail "set $i of $1"; }
    jq -e '[.set.shadows[].provider] | sort == ["cow", "exec"]' "$WORK/set" >/dev/null || fail "the set is another one: $(cat "$WORK/set")"
  done
  "$UMBRA" --quiet delete --all
  kill_and_wait "$PID"
}

make_volume below ext4 900M
mkdir "$WORK/below/storage"
attached_volume v ext4 200M --storage "$WORK/below/storage" --chunk 4096
findmnt -nro SOURCE "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt" | grep -qx "umbra:block=[0-9:]*,superblock=$(mountpoint -d "$WORK/below")" ||
  fail "the session does not say what it lies on: $(findmnt -nro SOURCE "$UMBRA_RUNTIME_DIR/attached/$ATTACHED/mnt")"
make_sets "$WORK/v"
# Also where another front made its device, of which only its name beside the session tells.
make_volume other ext4 32M
link=$UMBRA_RUNTIME_DIR/attached/$ATTACHED/device
device=$(readlink "$link")
levels() { "$BUILD/tests/volume-show" "$WORK/other" "$WORK/below" | jq -c '[.[].level]'; }
"$BUILD/tests/volume-show" "$WORK/other" "$WORK/below" >"$WORK/show"
[ "$(levels)" = '[0,0]' ] || fail "a volume that has nothing to do with it: $(cat "$WORK/show")"
ln -sfn "$DEVICE" "$link"
[ "$(levels)" = '[0,1]' ] || fail "the device of another front: $(levels)"
ln -sfn "$device" "$link"
unmount_alone "$WORK/v"
"$UMBRA" detach "$ATTACHED"

truncate -s 200M "$WORK/below/image"
ATTACHED=test-$$-image
cleanup_fn attached_away "$ATTACHED"
"$UMBRA" --quiet attach --storage "$WORK/below/storage" --chunk 4096 "$WORK/below/image" "$ATTACHED" >/dev/null
mkfs.ext4 -q "/dev/umbra/$ATTACHED"
mkdir "$WORK/i"
cleanup_fn umount "$WORK/i"
mount "/dev/umbra/$ATTACHED" "$WORK/i"
make_sets "$WORK/i"
unmount_alone "$WORK/i"
"$UMBRA" detach "$ATTACHED"
no_attached_left
