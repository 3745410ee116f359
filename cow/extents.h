/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Storage inside the volume itself (DESIGN.md, E21, E22): ranges of the origin that a file of the volume's filesystem
 * keeps free, and which slots lie in them. In the arena, so that they outlive a server; set and given up with writes
 * standing still.
 */
#ifndef COW_EXTENTS_H
#define COW_EXTENTS_H

#include "cow/geometry.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { COW_EXTENTS_MAX = 1024 };

struct cow_extent {
  uint64_t offset_bytes, length_bytes;
  uint32_t first_slot, slots; /* may be none: shorter than a chunk */
};

struct cow_extents {
  _Atomic uint32_t count; /* 0: there are none. Stored last; from then on writes into them are noticed. */
  /* Since the last time that writes could pass unnoticed, the filesystem was asked whose they are: slots may be used. */
  _Atomic uint32_t certain;
  uint32_t slots;
  struct cow_extent at[COW_EXTENTS_MAX]; /* ascending, apart */
};

struct cow_extent_range {
  uint64_t offset_bytes, length_bytes;
};

/*
 * Ascending ranges that do not overlap, in whole sectors, within the volume; at most slots_max slots are made of
 * them. Not certain yet. -EINVAL: they are not such, or there are too many; -ENOSPC: not one slot. Nothing is changed then.
 */
int cow_extents_set(struct cow_extents *x, const struct cow_extent_range *ranges, size_t count,
                    const struct cow_geometry *g, uint32_t slots_max);
/* Are they these very ones? */
bool cow_extents_equal(const struct cow_extents *x, const struct cow_extent_range *ranges, size_t count);

/* The first byte in [offset, offset + length) that belongs to one, and how many from there do; false: none. */
bool cow_extents_overlap(const struct cow_extents *x, uint64_t offset_bytes, uint64_t length_bytes,
                         uint64_t *ret_offset, uint64_t *ret_length);

/* Where a slot lies, and how many from it on lie in a row. It must be one of theirs. */
uint64_t cow_extents_place(const struct cow_extents *x, uint32_t slot, uint32_t chunk_bytes, uint32_t *ret_row);

#endif
