/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slot numbers of entries without data (DESIGN.md, E18): those after the ones that storage has. Which are in use;
 * rebuilt from the keys by whoever starts. Thread-safe, a leaf.
 */
#ifndef COW_HOLES_H
#define COW_HOLES_H

#include "common/bitmap.h"

#include <pthread.h>

struct cow_holes {
  uint32_t first, count_max;
  pthread_mutex_t lock; /* of the rest */
  struct bitmap used;
  uint32_t used_count;
  uint64_t next; /* where the search goes on */
};

int cow_holes_init(struct cow_holes *h, uint32_t first, uint32_t count_max); /* 0 or -ENOMEM */
void cow_holes_done(struct cow_holes *h);                                    /* fine on a zeroed one */

static inline bool cow_holes_has(const struct cow_holes *h, uint32_t slot) {
  return slot >= h->first && slot - h->first < h->count_max;
}

/* Up to count_max numbers in a row; returns how many, 0 if all are in use. */
uint32_t cow_holes_get(struct cow_holes *h, uint32_t count_max, uint32_t *ret_slot);
int cow_holes_claim(struct cow_holes *h, uint32_t slot); /* -EUCLEAN: claimed already */
void cow_holes_put(struct cow_holes *h, uint32_t slot);
uint32_t cow_holes_used(struct cow_holes *h);

#endif
