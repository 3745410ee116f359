/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mapped stores that show nowhere.  On filesystems without writeback (tmpfs, ramfs) a store through a shared mapping
 * never sets a time: whether one may have happened can only be told from who has such a mapping.
 */
#ifndef PROVIDERS_FILES_MAPPED_H
#define PROVIDERS_FILES_MAPPED_H

#include "volume/volume.h"

#include <stdbool.h>

/* True if a process has a writable shared mapping of a file of the volume whose stores leave no trace. Blocks, reads
 * /proc. */
bool mapped_unseen(const struct volume *volume);

#endif
