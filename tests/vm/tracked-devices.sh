#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test tracks and clones, in a virtual machine with Linux 6.12, what the machine at hand may lack: virtio partitions, RAM disks,
# device-mapper, MD, SCSI, a disk with a bad place.
# timeout: 300
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program mkfs.ext4 e2fsck dmsetup mdadm python3 wipefs losetup
in_vm --timeout 280 --disk 32M --disk 32M
. "$(dirname "$0")/../lib/tracked-devices.sh"
