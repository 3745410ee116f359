#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills, in a virtual machine with Linux 6.12, whoever works for a device-mapper volume (over the ublk front) while shadow copies come and go: the server, the
# supervisor, who switches, the command; at any moment, under fio that checks what it reads. The volume is never suspended, no I/O fails, nothing is left.
# timeout: 1300
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 dmsetup python3 e2fsck fio
in_vm --timeout 1280 --disk 96M
FRONT=ublk
. "$(dirname "$0")/../lib/dm-kills.sh"
