/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which chunks the newest shadow copy had free at its instant, which of them all live ones had, and the thread that
 * learns it from the newest itself, after the commit, in the background (DESIGN.md, E18). Private memory: the next
 * server learns anew what the newest had, and what all have once there are no older ones.
 */
#ifndef COW_FREE_MAP_H
#define COW_FREE_MAP_H

#include "common/error.h"
#include "cow/free-space/free-space.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct cow_engine;

struct cow_free_map {
  _Atomic uint32_t number; /* of the shadow copy that it is of; 0: none. Stored last, forgotten first. */
  uint32_t older;          /* number of the live one before it, 0: none. It may be gone since: then more is copied. */
  /* A bit a chunk, written only while number is not the present epoch's. NULL: never yet. */
  uint64_t *words;     /* free in the newest */
  uint64_t *all_words; /* free in all live ones up to all_number, if that is not 0 */
  uint32_t all_number;
  _Atomic uint64_t memory_bytes;

  pthread_mutex_t lock; /* a leaf: the flags */
  pthread_cond_t change;
  bool wanted, learning;
  atomic_bool ending;
  pthread_t learner;
  bool started;
};

/* Starts the thread, which first looks at the newest shadow copy there is. Without a reader of free space: nothing.
 */
int cow_free_map_start(struct cow_engine *e, struct umbra_error *err);
void cow_free_map_stop(struct cow_engine *e);

/* After an instant. Does not wait. */
void cow_free_map_wake(struct cow_engine *e);

/*
 * May a chunk be left out that has no entry after epoch `before`: did every live shadow copy after that have it free,
 * and is that known? Called with epoch held shared.
 */
static inline bool cow_free_map_may_leave(const struct cow_free_map *m, uint32_t newest_live, uint32_t epoch,
                                          uint32_t before, uint64_t chunk) {
  if (newest_live != epoch || atomic_load_explicit(&m->number, memory_order_acquire) != epoch)
    return false;
  const uint64_t *words = m->older <= before ? m->words : m->all_number == epoch ? m->all_words : NULL;
  return words && words[chunk / 64] >> (chunk % 64) & 1;
}

#endif
