# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by tests whose programs are in a control group of their own.
# shellcheck shell=bash

# own_group V1_CONTROLLER V2_CONTROLLER: in whichever hierarchy has it; sets GROUP, its directory, and GROUP_VERSION (1, 2). Gone at exit; who is in
# it then is outside.
own_group() {
  local root=$WORK/cgroup
  mkdir "$root"
  if mount -t cgroup -o "$1" none "$root" 2>/dev/null; then
    GROUP_VERSION=1
  else
    mount -t cgroup2 none "$root"
    grep -qw "$2" "$root/cgroup.subtree_control" || echo "+$2" >"$root/cgroup.subtree_control"
    GROUP_VERSION=2
  fi
  GROUP=$root/umbra-test-$$
  cleanup_fn group_away "$root"
  mkdir "$GROUP"
}
group_away() {
  local pid
  while read -r pid; do echo "$pid" >"$1/cgroup.procs" || true; done <"$GROUP/cgroup.procs"
  wait_for 10 rmdir "$GROUP"
  umount "$1"
}
