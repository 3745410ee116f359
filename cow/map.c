/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_BUCKETS = 1024 };

static uint64_t key_of(const struct cow_map *m, uint32_t slot) {
  return atomic_load_explicit(&m->keys[slot], memory_order_relaxed);
}
static uint64_t chunk_of(const struct cow_map *m, uint32_t slot) { return cow_key_chunk(key_of(m, slot)); }
static uint32_t epoch_of(const struct cow_map *m, uint32_t slot) { return cow_key_epoch(key_of(m, slot)); }

/* Fibonacci hashing: neighbours are spread, since they are written together. */
static uint32_t hash(uint64_t chunk) { return (uint32_t)(chunk * UINT64_C(0x9e3779b97f4a7c15) >> 32); }

static uint32_t bucket_of(const struct cow_map *m, uint64_t chunk) {
  uint32_t h = hash(chunk), b = h & m->level_mask;
  return b < m->split ? h & (m->level_mask << 1 | 1) : b;
}

static uint64_t heads_bytes(uint32_t slots_max) {
  uint64_t buckets = FIRST_BUCKETS;
  while (buckets < slots_max)
    buckets *= 2;
  return buckets * 2 * sizeof(uint32_t);
}

static uint32_t *reserve(uint64_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? NULL : at;
}

int cow_map_init(struct cow_map *m, const _Atomic uint64_t *keys, uint32_t slots_max) {
  *m = (struct cow_map){.keys = keys, .slots_max = slots_max, .level_mask = FIRST_BUCKETS - 1};
  m->heads = reserve(heads_bytes(slots_max));
  m->nexts = reserve((uint64_t)slots_max * sizeof(uint32_t));
  if (!m->heads || !m->nexts) {
    cow_map_done(m);
    return -ENOMEM;
  }
  memset(m->heads, 0xff, FIRST_BUCKETS * sizeof(uint32_t));
  return 0;
}

void cow_map_done(struct cow_map *m) {
  if (m->heads)
    (void)munmap(m->heads, heads_bytes(m->slots_max));
  if (m->nexts)
    (void)munmap(m->nexts, (uint64_t)m->slots_max * sizeof(uint32_t));
  *m = (struct cow_map){0};
}

/* Moves half of the bucket that is next to a new one at the end. Chains keep their order. */
static void split_one(struct cow_map *m) {
  uint32_t from = m->split, to = m->level_mask + 1 + m->split, mask = m->level_mask << 1 | 1;
  uint32_t *tails[2] = {&m->heads[from], &m->heads[to]};
  uint32_t slot = m->heads[from];
  m->heads[from] = m->heads[to] = COW_SLOT_NONE;
  while (slot != COW_SLOT_NONE) {
    uint32_t next = m->nexts[slot];
    bool moves = (hash(chunk_of(m, slot)) & mask) == to;
    *tails[moves] = slot;
    m->nexts[slot] = COW_SLOT_NONE;
    tails[moves] = &m->nexts[slot];
    slot = next;
  }
  if (m->split++ == m->level_mask) {
    m->level_mask = mask;
    m->split = 0;
  }
}

void cow_map_insert(struct cow_map *m, uint32_t slot, bool any_order) {
  uint64_t chunk = chunk_of(m, slot);
  uint32_t *link = &m->heads[bucket_of(m, chunk)];
  if (any_order)
    for (uint32_t *l = link; *l != COW_SLOT_NONE; l = &m->nexts[*l])
      if (chunk_of(m, *l) == chunk && epoch_of(m, *l) > epoch_of(m, slot))
        link = &m->nexts[*l];
  m->nexts[slot] = *link;
  *link = slot;
  if (++m->count > m->level_mask + m->split && m->level_mask + m->split < m->slots_max)
    split_one(m);
}

void cow_map_remove(struct cow_map *m, uint32_t slot) {
  uint32_t *link = &m->heads[bucket_of(m, chunk_of(m, slot))];
  while (*link != slot)
    link = &m->nexts[*link];
  *link = m->nexts[slot];
  m->count--;
}

uint32_t cow_map_find(const struct cow_map *m, uint64_t chunk, uint32_t epoch) {
  uint32_t found = COW_SLOT_NONE;
  for (uint32_t s = m->heads[bucket_of(m, chunk)]; s != COW_SLOT_NONE; s = m->nexts[s]) {
    uint64_t key = key_of(m, s);
    if (cow_key_chunk(key) != chunk)
      continue;
    if (cow_key_epoch(key) < epoch)
      break;
    found = s;
  }
  return found;
}

uint32_t cow_map_newest(const struct cow_map *m, uint64_t chunk) {
  for (uint32_t s = m->heads[bucket_of(m, chunk)]; s != COW_SLOT_NONE; s = m->nexts[s])
    if (chunk_of(m, s) == chunk)
      return epoch_of(m, s);
  return 0;
}

uint32_t cow_map_next_older(const struct cow_map *m, uint32_t slot) {
  uint64_t chunk = chunk_of(m, slot);
  for (uint32_t s = m->nexts[slot]; s != COW_SLOT_NONE; s = m->nexts[s])
    if (chunk_of(m, s) == chunk)
      return epoch_of(m, s);
  return 0;
}

bool cow_map_check(const struct cow_map *m) {
  uint64_t seen = 0;
  for (uint32_t b = 0; b <= m->level_mask + m->split; b++)
    for (uint32_t s = m->heads[b]; s != COW_SLOT_NONE; s = m->nexts[s], seen++)
      if (s >= m->slots_max || key_of(m, s) == 0 || bucket_of(m, chunk_of(m, s)) != b || seen > m->count ||
          cow_map_next_older(m, s) >= epoch_of(m, s))
        return false;
  return seen == m->count;
}
