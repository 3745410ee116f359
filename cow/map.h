/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries by chunk: a linear hash (Litwin 1980) over the slots' keys, grown by one bucket an insertion, so that no
 * insertion is slow. Entries of one chunk lie in their bucket's chain newest first (DESIGN.md, E2).  4 bytes a slot
 * and 4 to 8 for the heads, private memory: rebuilt from the keys by whoever starts.
 *
 * Not thread-safe; the engine's map lock (rank 7) protects it.
 */
#ifndef COW_MAP_H
#define COW_MAP_H

#include "cow/geometry.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cow_map {
  const _Atomic uint64_t *keys; /* the arena's */
  uint32_t *heads, *nexts;      /* reserved for slots_max */
  uint32_t slots_max;
  uint32_t level_mask, split; /* buckets: level_mask + 1 + split */
  uint32_t count;
};

int cow_map_init(struct cow_map *m, const _Atomic uint64_t *keys, uint32_t slots_max); /* 0 or -ENOMEM */
void cow_map_done(struct cow_map *m);

/* The slot's key must be set, and be the newest of its chunk unless any_order. */
void cow_map_insert(struct cow_map *m, uint32_t slot, bool any_order);
void cow_map_remove(struct cow_map *m, uint32_t slot);

/* The entry of chunk with the least epoch ≥ epoch, or COW_SLOT_NONE. */
uint32_t cow_map_find(const struct cow_map *m, uint64_t chunk, uint32_t epoch);
/* The epoch of the newest entry of chunk, 0 if it has none. */
uint32_t cow_map_newest(const struct cow_map *m, uint64_t chunk);
/* The epoch of the entry of the same chunk that is next older than this slot's, 0 if there is none. */
uint32_t cow_map_next_older(const struct cow_map *m, uint32_t slot);

/* Every chain is in order and every entry in its bucket; for tests and debug builds. */
bool cow_map_check(const struct cow_map *m);

#endif
