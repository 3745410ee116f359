/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/clone/scope-inode-set.h"

#include "providers/clone/scope.h"

#include <errno.h>
#include <stdlib.h>

struct scope_inode_chunk {
  uint64_t key;  /* inode / 64 */
  uint64_t bits; /* 0: empty slot */
};

enum { CAPACITY_MIN = 1024 };

void scope_inode_set_done(struct scope_inode_set *set) {
  free(set->chunks);
  *set = (struct scope_inode_set){0};
}

/* The slot of key, or the empty one where it belongs. At least a quarter is always empty. */
static struct scope_inode_chunk *slot_of(const struct scope_inode_set *set, uint64_t key) {
  size_t i = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (set->capacity - 1);
  while (set->chunks[i].bits && set->chunks[i].key != key)
    i = (i + 1) & (set->capacity - 1);
  return &set->chunks[i];
}

static int grow(struct scope_inode_set *set) {
  struct scope_inode_set larger = {.capacity = set->capacity ? set->capacity * 2 : CAPACITY_MIN, .count = set->count};
  larger.chunks = calloc(larger.capacity, sizeof *larger.chunks);
  if (!larger.chunks)
    return -ENOMEM;
  for (size_t i = 0; i < set->capacity; i++)
    if (set->chunks[i].bits)
      *slot_of(&larger, set->chunks[i].key) = set->chunks[i];
  free(set->chunks);
  *set = larger;
  return 0;
}

int scope_inode_set_add(struct scope_inode_set *set, uint64_t inode) {
  if (set->count >= SCOPE_VISITED_CHUNKS_MAX)
    return -EOVERFLOW;
  if (set->count + 1 > set->capacity / 4 * 3 && grow(set) < 0)
    return -ENOMEM;
  struct scope_inode_chunk *chunk = slot_of(set, inode / 64);
  uint64_t bit = UINT64_C(1) << (inode % 64);
  if (chunk->bits & bit)
    return 0;
  if (!chunk->bits)
    set->count++;
  chunk->key = inode / 64;
  chunk->bits |= bit;
  return 1;
}
