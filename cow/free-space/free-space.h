/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which bytes of a volume its filesystem had free at an instant, read from the filesystem's own structures: what
 * nobody will ever want from the shadow copy of that instant.
 *
 * True only for an image whose structures are on the disk as they are in memory: one taken while the filesystem was
 * frozen.  The caller knows whether it was.  ext4 says so itself (it empties its journal and clears the mark that it
 * must be replayed), XFS does not: a frozen one looks like one in use.
 *
 * The image is not trusted: nothing read is used as an address, a count or a length before it was checked, memory and
 * reads are bounded by the volume's size, and whatever contradicts itself ends the visit.
 */
#ifndef COW_FREE_SPACE_FREE_SPACE_H
#define COW_FREE_SPACE_FREE_SPACE_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

struct free_space_source {
  /* Reads all of it, any alignment, never past volume_bytes. 0 or negative errno, which ends the visit. */
  int (*read)(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes);
  void *context;
  uint64_t volume_bytes;
};

/* Nonzero ends the visit. */
typedef int (*free_space_visit_fn)(void *context, uint64_t offset_bytes, uint64_t length_bytes);

/*
 * Calls visit for every range that was free, in ascending order and without overlaps.  What was visited counts only
 * if 0 is returned: damage is found on the way.  Blocks while reading: the superblock and, of ext4, every group's
 * bitmap, of XFS every block of the free-space trees. Memory: ext4's group descriptors and one bitmap, or up to ten
 * blocks of XFS.
 *
 * Errors: what visit or source->read returned;
 * -EOPNOTSUPP  another filesystem, one with a feature that this reader does not know, or one that was in use, has
 *              errors or waits for a repair: what is free is not known
 * -EUCLEAN     structures that do not hold
 * -ENOMEM
 */
int free_space_visit(const struct free_space_source *source, free_space_visit_fn visit, void *visit_context,
                     struct umbra_error *err);

enum { FREE_SPACE_GROUPS_MAX = 1 << 20 }; /* of one filesystem; of ext4, each takes 64 bytes while it is read */

#endif
