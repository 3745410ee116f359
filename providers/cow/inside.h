/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file that keeps room for storage inside an attached volume (cow/DESIGN.md, E21 to E25): made at the first shadow copy,
 * looked at again before each.  Source: fallocate(2), ioctl_fs FS_IOC_FIEMAP (Documentation/filesystems/fiemap.rst),
 * ioctl_iflags(2).
 */
#ifndef PROVIDERS_COW_INSIDE_H
#define PROVIDERS_COW_INSIDE_H

#include "common/error.h"

#include "volume/volume.h"

#include <stdint.h>

#define COW_INSIDE_NAME ".umbra-storage"

/*
 * In the volume's root directory, root_fd: allocated, never written, immutable. fresh: its server has no storage yet,
 * so that a file of an earlier attach is replaced. Tells the server at control_fd, which has begun a shadow copy,
 * where it lies. -ESTALE: elsewhere than before, or nowhere.
 */
int cow_inside_prepare(int control_fd, const struct volume *volume, int root_fd, bool fresh, uint64_t bytes,
                       int timeout_ms, struct umbra_error *err);

#endif
