/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block devices in words, for people: "partition 2 of virtio disk /dev/vda". Internal to volume/ (public: volume.h).
 */
#ifndef VOLUME_DESCRIBE_H
#define VOLUME_DESCRIBE_H

#include "volume/block.h"

/* The device with all that lies below it. The caller frees *ret. -ENOMEM, or -ENODEV if sysfs does not know it. */
int describe_device(const struct places *places, dev_t device, char **ret);

#endif
