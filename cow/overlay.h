/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Overlays: what was written to shadow copies themselves (DESIGN.md, E19). An overlay's entry is a slot with a key of
 * its own kind, chunk and the shadow copy's number, which nobody but the reads of that shadow copy looks for. Private
 * memory but for the keys, which are the arena's.
 */
#ifndef COW_OVERLAY_H
#define COW_OVERLAY_H

#include "cow/arena.h"
#include "cow/map.h"

#include <pthread.h>

struct cow_engine;
struct cow_needing;

enum { COW_OVERLAY_STRIPES = 64 };

struct cow_overlay {
  /*
   * Shared: a write (with storage inside the volume a read, too), from its look at the shadow copy's state until its
   * data is in its slot. Exclusive: sealing, freeing. Rank 5.
   */
  pthread_rwlock_t lock;
  pthread_mutex_t stripes[COW_OVERLAY_STRIPES]; /* of chunks; rank 6: look → store → publish is one step */
  struct cow_map map;                           /* under the engine's map lock */
  atomic_bool told_full[COW_SHADOWS_MAX];       /* that the storage had no room for it, since it last had */
};

int cow_overlay_init(struct cow_overlay *o, const struct cow_arena *arena); /* 0 or -ENOMEM */
void cow_overlay_done(struct cow_overlay *o);

/* At start: takes over what the last server's shadow copies have. -EUCLEAN: the keys are none. */
int cow_overlay_take_over(struct cow_engine *e);

/* Of this very shadow copy, or COW_SLOT_NONE. Under the map's lock. */
uint32_t cow_overlay_find(const struct cow_overlay *o, uint64_t chunk, uint32_t number);

/* Frees what is of shadow copies that are not live; under reclaim. Returns how many slots. */
uint64_t cow_overlay_free(struct cow_engine *e, const struct cow_needing *needing);

#endif
