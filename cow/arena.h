/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What of an engine outlives its server (DESIGN.md, E12): memory files whose descriptors the supervisor keeps and hands to the next
 * server.  Locked by mlockall, not by this file.  A region is reserved in address space at its largest and grows without moving, so
 * that readers need no lock.
 *
 * Regions: the header (struct cow_arena_header), the keys (one a slot), P, S.
 */
#ifndef COW_ARENA_H
#define COW_ARENA_H

#include "common/error.h"
#include "cow/geometry.h"

#include <stdatomic.h>
#include <stdint.h>

enum cow_region { COW_REGION_HEADER, COW_REGION_KEYS, COW_REGION_COVERED, COW_REGION_SKIP, COW_REGIONS };

struct cow_arena {
  int fds[COW_REGIONS];     /* memfds; owned */
  void *at[COW_REGIONS];    /* mapped shared, reserved to bytes_max */
  uint64_t bytes[COW_REGIONS], bytes_max[COW_REGIONS];
};

/* New, all zero. Geometry decides the sizes of COVERED and SKIP; KEYS starts empty and may grow to slots_max. */
int cow_arena_create(struct cow_arena *a, const struct cow_geometry *g, uint32_t slots_max, struct umbra_error *err);

/* From the descriptors another process left (takes ownership of them, also on failure). Sizes are checked, never believed. */
int cow_arena_adopt(struct cow_arena *a, const int fds[COW_REGIONS], const struct cow_geometry *g, uint32_t slots_max,
                    struct umbra_error *err);
void cow_arena_done(struct cow_arena *a);

/* Room for at least this many keys. Existing ones stay where they are. Blocks on memory only. */
int cow_arena_grow_keys(struct cow_arena *a, uint32_t slots, struct umbra_error *err);

/* Zeroes a region by giving its pages back: O(pages in use), to be called outside a pause. */
int cow_arena_clear(struct cow_arena *a, enum cow_region region, struct umbra_error *err);

#endif
