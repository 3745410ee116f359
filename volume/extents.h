/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which bytes of a volume's block device hold something, and where on it a file lies.
 * Source: ioctl_getfsmap(2), Documentation/filesystems/fiemap.rst. Offsets are from the start of the block device the
 * filesystem lies on (a partition counts from its own start).
 */
#ifndef VOLUME_EXTENTS_H
#define VOLUME_EXTENTS_H

#include "common/bitmap.h"
#include "common/error.h"

#include <sys/types.h>

/*
 * Marks in *allocated (made by the caller: one bit a granule of 1 << granule_shift bytes) each granule of which any
 * byte may be in use. fd is any descriptor on the filesystem; device is the block device meant. Where the filesystem
 * cannot tell
 * (-EOPNOTSUPP) the caller copies everything. What is allocated later is not here: it is seen as writes.
 */
int extents_allocated(int fd, dev_t device, unsigned granule_shift, struct bitmap *allocated,
                      struct umbra_error *err);

/* Calls found for each physical extent of the file; stops at the first negative result and returns it. */
typedef int (*extents_found)(void *context, uint64_t physical_bytes, uint64_t logical_bytes, uint64_t length_bytes);
int extents_of_file(int fd, extents_found found, void *context, struct umbra_error *err);

#endif
