/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the calls for attached volumes share. */
#ifndef LIBUMBRA_ATTACHED_H
#define LIBUMBRA_ATTACHED_H

#include "umbra/umbra.h"

#include <stdint.h>

/* RUNTIME/attached/NAME, whether there is such a volume or not. Caller frees. -EINVAL for what is no name. */
int attached_directory_of(struct umbra_client *client, const char *name, char **ret);

/*
 * Opens the block device of an attached volume: nobody else uses it, and nobody can as long as *ret_fd (the caller's)
 * is open. -EBUSY.
 */
int attached_open_alone(struct umbra_client *client, const char *device, int flags, int *ret_fd);

/*
 * Opens what is to keep old chunks of a volume with sectors of sector_bytes: a block device, exclusively, or a new file without a
 * name in a directory. *ret_fd is the caller's. -EINVAL: neither, or a device whose sectors are too large.
 */
int attached_open_storage(struct umbra_client *client, const char *where, uint32_t sector_bytes, int *ret_fd);

#endif
