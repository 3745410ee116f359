# SPDX-License-Identifier: LGPL-2.1-or-later
# For tests of view/: images of live volumes and plans for build/tests/view-run (tests/lib/view-run.c).
# shellcheck shell=bash
VIEW_RUN=$BUILD/tests/view-run

# freeze_image NAME: $WORK/NAME.shadow becomes the image of the volume $WORK/NAME at this instant
freeze_image() {
  fsfreeze -f "$WORK/$1"
  cp --sparse=always "$WORK/$1.img" "$WORK/$1.shadow"
  fsfreeze -u "$WORK/$1"
}

# image_plan NAME FSTYPE [SECTOR_BYTES]: prints an entry of a plan: $WORK/NAME.shadow over $WORK/NAME
image_plan() {
  jq -n --arg m "$WORK/$1" --arg p "$WORK/$1.shadow" --arg f "$2" --argjson s "${3:-512}" \
    '{mount_point: $m, view: {kind: "image", path: $p, filesystem: $f, sector_bytes: $s}}'
}

# tree_plan MOUNTPOINT DIRECTORY [AT DIRECTORY]...: prints an entry: the tree over the mount point, others nested in it
tree_plan() {
  local mount_point=$1 directory=$2 nested='[]'; shift 2
  for ((; $#; )); do
    nested=$(jq -n --argjson n "$nested" --arg a "$1" --arg p "$2" '$n + [{at: $a, path: $p}]'); shift 2
  done
  jq -n --arg m "$mount_point" --arg p "$directory" --argjson n "$nested" \
    '{mount_point: $m, view: {kind: "tree", path: $p, nested: $n}}'
}

# plan ENTRY...: writes $WORK/plan
plan() { printf '%s\n' "$@" | jq -s . >"$WORK/plan"; }

# view_run ARGUMENT...: runs a program over the plan; options before --
view_run() { "$VIEW_RUN" "$WORK/plan" "$@"; }

# loops_of IMAGE: prints the loop devices over it; nothing when there is none
loops_of() { losetup -j "$1" | cut -d: -f1; }

# gone IMAGE: no loop device is over it any more (the kernel takes it down right after its last user)
gone() { [ -z "$(loops_of "$1")" ]; }

# expect_gone IMAGE
expect_gone() { wait_for 5 gone "$1" || fail "a loop device is left over $1"; }
