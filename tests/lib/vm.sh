# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh by tests that need kernel features or disks that the machine at hand lacks: they run again, by
# themselves, in a small virtual machine.  The program that does it, vm-run, is no part of this repository: it runs a command as root in
# a guest that sees the host's tree, with --disk SIZE for /dev/vda, /dev/vdb….  It is $UMBRA_VM_RUN or in PATH.
# shellcheck shell=bash

# in_vm OPTION... : everything after this call runs in the guest; the call itself does not return on the host
in_vm() {
  local program=${UMBRA_VM_RUN:-vm-run} status=0
  if [ -n "${UMBRA_IN_VM:-}" ]; then return 0; fi
  command -v "$program" >/dev/null || skip "no vm-run (set UMBRA_VM_RUN): this needs a virtual machine"
  UMBRA_IN_VM=1 "$program" --timeout 150 "$@" -- "$(realpath "$0")" || status=$?
  [ "$status" != 125 ] || skip "the virtual machine did not start"
  exit "$status"
}
