#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test attaches disks as device-mapper devices in a virtual machine with Linux 6.1: written to directly until the first shadow copy and
# again after the last, one instant each under load, a shadow copy an exact prefix, and what dead programs leave.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 dmsetup python3 e2fsck
in_vm --kernel bookworm --append no_timer_check --timeout 580 --disk 96M
. "$(dirname "$0")/../lib/dm-life.sh"
