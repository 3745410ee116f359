/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bits of a volume, one a granule.  Words are 64 bits, bit i is word i/64, bit i%64 (little-endian within the word):
 * the layout that the tracking program in the kernel uses.  Not thread-safe unless a function says so.
 */
#ifndef COMMON_BITMAP_H
#define COMMON_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bitmap {
  uint64_t *words;
  uint64_t bits;
};

int bitmap_init(struct bitmap *b, uint64_t bits); /* all clear; 0 or -ENOMEM */
void bitmap_done(struct bitmap *b);

static inline uint64_t bitmap_word_count(const struct bitmap *b) { return (b->bits + 63) / 64; }
static inline bool bitmap_test(const struct bitmap *b, uint64_t bit) {
  return bit < b->bits && (b->words[bit / 64] >> (bit % 64) & 1);
}
static inline void bitmap_set(struct bitmap *b, uint64_t bit) { b->words[bit / 64] |= UINT64_C(1) << (bit % 64); }
static inline void bitmap_clear(struct bitmap *b, uint64_t bit) {
  b->words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

void bitmap_set_range(struct bitmap *b, uint64_t first, uint64_t count);   /* clipped to the bitmap */
void bitmap_clear_range(struct bitmap *b, uint64_t first, uint64_t count); /* clipped to the bitmap */
void bitmap_clear_all(struct bitmap *b);
uint64_t bitmap_count(const struct bitmap *b);

/* The next run of set bits at or after from, at most count_max long. False if there is none. */
bool bitmap_next_run(const struct bitmap *b, uint64_t from, uint64_t count_max, uint64_t *ret_first,
                     uint64_t *ret_count);

void bitmap_or(struct bitmap *to, const struct bitmap *from);      /* same size */
void bitmap_and_not(struct bitmap *to, const struct bitmap *from); /* same size; to &= ~from */

#endif
