/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which parts of a filesystem's image were free, learned from the image itself (a shadow copy), so that they need not be copied out.
 * What comes from the image is checked, never believed: on any doubt the answer is "in use".
 *
 * ext4: block bitmaps, by libext2fs over a reader of ours.  XFS: the free-space trees by block number of each allocation group, including
 * the list blocks of the trees themselves counting as in use; of a frozen volume they are current on disk, else (log not empty) nothing is known.
 */
#ifndef COW_FREE_MAP_H
#define COW_FREE_MAP_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

struct cow_free_source {
  /* Reads of the image; any offset and length, blocks. 0 or negative errno. */
  int (*read)(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes);
  void *context;
  uint64_t size_bytes;
};

/*
 * Calls visit() for free runs in ascending order, none overlapping; stops when it returns != 0 and returns that. -EOPNOTSUPP: a
 * filesystem (or state of it) of which the free space is not known; what was visited until then remains true.
 */
int cow_free_map(const struct cow_free_source *source,
                 int (*visit)(uint64_t offset_bytes, uint64_t length_bytes, void *context), void *context,
                 struct umbra_error *err);

#endif
