/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/bitmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bitmap_init(struct bitmap *b, uint64_t bits) {
  *b = (struct bitmap){.bits = bits};
  b->words = calloc(bitmap_word_count(b) + 1, sizeof *b->words);
  return b->words ? 0 : -ENOMEM;
}

void bitmap_done(struct bitmap *b) {
  free(b->words);
  *b = (struct bitmap){0};
}

/* Bits lo..hi-1 of one word. */
static uint64_t word_mask(unsigned lo, unsigned hi) {
  uint64_t up_to_hi = hi == 64 ? UINT64_MAX : (UINT64_C(1) << hi) - 1;
  return up_to_hi & ~((UINT64_C(1) << lo) - 1);
}

static void change_range(struct bitmap *b, uint64_t first, uint64_t count, bool set) {
  if (first >= b->bits)
    return;
  if (count > b->bits - first)
    count = b->bits - first;
  for (uint64_t end = first + count; first < end;) {
    unsigned lo = first % 64;
    unsigned hi = end - (first - lo) < 64 ? (unsigned)(end - (first - lo)) : 64;
    if (set)
      b->words[first / 64] |= word_mask(lo, hi);
    else
      b->words[first / 64] &= ~word_mask(lo, hi);
    first += hi - lo;
  }
}

void bitmap_set_range(struct bitmap *b, uint64_t first, uint64_t count) { change_range(b, first, count, true); }
void bitmap_clear_range(struct bitmap *b, uint64_t first, uint64_t count) { change_range(b, first, count, false); }

void bitmap_clear_all(struct bitmap *b) { memset(b->words, 0, bitmap_word_count(b) * sizeof *b->words); }

uint64_t bitmap_count(const struct bitmap *b) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < bitmap_word_count(b); i++)
    count += (uint64_t)__builtin_popcountll(b->words[i]);
  return count;
}

/* First bit at or after from whose value is wanted, or bits if none. */
static uint64_t find(const struct bitmap *b, uint64_t from, bool wanted) {
  while (from < b->bits) {
    uint64_t word = b->words[from / 64];
    if (!wanted)
      word = ~word;
    word &= UINT64_MAX << (from % 64);
    if (word) {
      uint64_t bit = from / 64 * 64 + (uint64_t)__builtin_ctzll(word);
      return bit < b->bits ? bit : b->bits;
    }
    from = (from / 64 + 1) * 64;
  }
  return b->bits;
}

bool bitmap_next_run(const struct bitmap *b, uint64_t from, uint64_t count_max, uint64_t *ret_first,
                     uint64_t *ret_count) {
  uint64_t first = find(b, from, true);
  if (first >= b->bits)
    return false;
  uint64_t end = find(b, first, false);
  *ret_first = first;
  *ret_count = end - first < count_max ? end - first : count_max;
  return true;
}

void bitmap_or(struct bitmap *to, const struct bitmap *from) {
  assert(to->bits == from->bits);
  for (uint64_t i = 0; i < bitmap_word_count(to); i++)
    to->words[i] |= from->words[i];
}

void bitmap_and_not(struct bitmap *to, const struct bitmap *from) {
  assert(to->bits == from->bits);
  for (uint64_t i = 0; i < bitmap_word_count(to); i++)
    to->words[i] &= ~from->words[i];
}
