/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/holes.h"

#include <errno.h>

int cow_holes_init(struct cow_holes *h, uint32_t first, uint32_t count_max) {
  *h = (struct cow_holes){.first = first, .count_max = count_max};
  pthread_mutex_init(&h->lock, NULL);
  return bitmap_init(&h->used, count_max);
}

void cow_holes_done(struct cow_holes *h) {
  bitmap_done(&h->used);
  pthread_mutex_destroy(&h->lock);
}

/* The next one that is not in use, at or after h->next, round once. There is one. */
static uint64_t find_free(const struct cow_holes *h) {
  uint64_t at = h->next < h->count_max ? h->next : 0;
  while (bitmap_test(&h->used, at)) {
    at += at % 64 == 0 && at + 64 <= h->count_max && h->used.words[at / 64] == UINT64_MAX ? 64 : 1;
    if (at >= h->count_max)
      at = 0;
  }
  return at;
}

uint32_t cow_holes_get(struct cow_holes *h, uint32_t count_max, uint32_t *ret_slot) {
  uint32_t count = 0;
  pthread_mutex_lock(&h->lock);
  if (h->used_count < h->count_max) {
    uint64_t first = find_free(h);
    while (count < count_max && first + count < h->count_max && !bitmap_test(&h->used, first + count))
      bitmap_set(&h->used, first + count++);
    h->used_count += count;
    h->next = first + count;
    *ret_slot = h->first + (uint32_t)first;
  }
  pthread_mutex_unlock(&h->lock);
  return count;
}

int cow_holes_claim(struct cow_holes *h, uint32_t slot) {
  if (!cow_holes_has(h, slot) || bitmap_test(&h->used, slot - h->first))
    return -EUCLEAN;
  bitmap_set(&h->used, slot - h->first);
  h->used_count++;
  return 0;
}

void cow_holes_put(struct cow_holes *h, uint32_t slot) {
  pthread_mutex_lock(&h->lock);
  bitmap_clear(&h->used, slot - h->first);
  h->used_count--;
  pthread_mutex_unlock(&h->lock);
}

uint32_t cow_holes_used(struct cow_holes *h) {
  pthread_mutex_lock(&h->lock);
  uint32_t used = h->used_count;
  pthread_mutex_unlock(&h->lock);
  return used;
}
