/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entries become durable together (E13, E14). The table and the witness: ledger-table.c. */
#include "cow/ledger.h"

#include "common/fd.h"
#include "cow/ledger-state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cow_ledger_open(int storage_fd, int origin_fd, struct cow_arena *arena, struct cow_ledger **ret,
                    struct umbra_error *err) {
  struct cow_ledger *l = calloc(1, sizeof *l);
  if (l)
    l->buffers = aligned_alloc(COW_BUFFER_ALIGNMENT, (size_t)LEDGER_BUFFERS * COW_DISK_BLOCK_BYTES);
  if (!l || !l->buffers) {
    free(l);
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "memory for the ledger");
  }
  memset(l->buffers, 0, (size_t)LEDGER_BUFFERS * COW_DISK_BLOCK_BYTES); /* in memory from now on */
  l->storage_fd = storage_fd;
  l->origin_fd = origin_fd;
  l->arena = arena;
  pthread_mutex_init(&l->lock, NULL);
  pthread_mutex_init(&l->table, NULL);
  pthread_mutex_init(&l->witness, NULL);
  pthread_cond_init(&l->flushed, NULL);
  int r = cow_ledger_start(l, err);
  if (r < 0) {
    cow_ledger_close(l);
    return r;
  }
  *ret = l;
  return 0;
}

void cow_ledger_close(struct cow_ledger *l) {
  if (!l)
    return;
  pthread_cond_destroy(&l->flushed);
  pthread_mutex_destroy(&l->witness);
  pthread_mutex_destroy(&l->table);
  pthread_mutex_destroy(&l->lock);
  free(l->buffers);
  free(l);
}

int cow_ledger_failed(struct cow_ledger *l, int r) {
  if (r < 0)
    atomic_store(&l->arena->header->ledger_failed, true);
  return r;
}

static unsigned char *cached(struct cow_ledger *l, unsigned i) {
  return l->buffers + (size_t)(LEDGER_CACHED_FIRST + i) * COW_DISK_BLOCK_BYTES;
}

static int write_back(struct cow_ledger *l, unsigned i) {
  struct ledger_block *b = &l->blocks[i];
  if (!b->changed)
    return 0;
  b->changed = false;
  return fd_pwrite_all(l->storage_fd, cached(l, i), COW_DISK_BLOCK_BYTES, b->offset);
}

/* Slots of one time lie together, hence so do their cells: nearly always the block is here. Leader only. */
static int get_block(struct cow_ledger *l, uint64_t offset, unsigned *ret) {
  unsigned i = 0;
  while (i < LEDGER_BLOCKS && l->blocks[i].offset != offset)
    i++;
  if (i == LEDGER_BLOCKS) {
    i = l->next_victim++ % LEDGER_BLOCKS;
    int r = write_back(l, i);
    l->blocks[i].offset = 0;
    if (r >= 0)
      r = fd_pread_all(l->storage_fd, cached(l, i), COW_DISK_BLOCK_BYTES, offset);
    if (r < 0)
      return r;
    l->blocks[i].offset = offset;
  }
  *ret = i;
  return 0;
}

static int put_cells(struct cow_ledger *l, const struct ledger_waiter *w, uint64_t generation, uint64_t durable) {
  for (size_t p = 0; p < w->count; p++)
    for (uint32_t i = 0; i < w->stored[p].count; i++) {
      uint32_t slot = w->stored[p].slot + i;
      unsigned b = 0;
      int r = get_block(l, cow_disk_cells_block(slot), &b);
      if (r < 0)
        return r;
      struct cow_disk_cell cell = {.key = cow_key(w->stored[p].chunks[i], w->epoch),
                                   .generation = generation,
                                   .durable = durable,
                                   .sum = atomic_load_explicit(&l->arena->sums[slot], memory_order_relaxed)};
      cow_disk_cell_encode(&l->super, slot, &cell,
                           cached(l, b) + (size_t)(slot % COW_DISK_BLOCK_CELLS) * COW_DISK_CELL_BYTES);
      l->blocks[b].changed = true;
    }
  return 0;
}

/* All that was written before this began becomes durable with it. One at a time. */
static int flush_group(struct cow_ledger *l, const struct ledger_waiter *group) {
  struct cow_arena_header *h = l->arena->header;
  int r = atomic_load(&h->ledger_failed) ? -EIO : 0;
  uint64_t durable = atomic_load(&h->durable), generation = atomic_fetch_add(&h->generation, 1) + 1;
  for (const struct ledger_waiter *w = group; w && r >= 0; w = w->next)
    r = put_cells(l, w, generation, durable);
  for (unsigned i = 0; i < LEDGER_BLOCKS && r >= 0; i++)
    r = write_back(l, i);
  if (r >= 0 && fdatasync(l->storage_fd) < 0)
    r = -errno;
  if (r >= 0)
    atomic_store(&h->durable, generation);
  return cow_ledger_failed(l, r);
}

static void lead(struct cow_ledger *l) {
  struct ledger_waiter *group = l->waiting;
  l->waiting = NULL;
  l->leading = true;
  pthread_mutex_unlock(&l->lock);
  int r = flush_group(l, group);
  pthread_mutex_lock(&l->lock);
  l->leading = false;
  for (struct ledger_waiter *w = group, *next; w; w = next) {
    next = w->next;
    w->result = r;
    w->done = true; /* from here on it is its thread's again */
  }
  pthread_cond_broadcast(&l->flushed);
}

static uint32_t sum_of(const struct cow_ledger *l, const struct cow_stored *s, uint32_t i) {
  return s->data ? cow_disk_data_sum(&l->super, (const unsigned char *)s->data + (size_t)i * l->super.chunk_bytes)
                 : COW_DISK_HOLE_SUM;
}

int cow_ledger_commit(struct cow_ledger *l, uint32_t epoch, const struct cow_stored *stored, size_t count,
                      bool durable) {
  for (size_t p = 0; p < count; p++)
    for (uint32_t i = 0; i < stored[p].count; i++)
      atomic_store_explicit(&l->arena->sums[stored[p].slot + i], sum_of(l, &stored[p], i), memory_order_relaxed);
  if (!durable)
    return 0;
  struct ledger_waiter me = {.stored = stored, .count = count, .epoch = epoch};
  pthread_mutex_lock(&l->lock);
  me.next = l->waiting;
  l->waiting = &me;
  while (!me.done)
    if (l->leading)
      pthread_cond_wait(&l->flushed, &l->lock);
    else
      lead(l);
  pthread_mutex_unlock(&l->lock);
  return me.result;
}

void cow_ledger_forget(struct cow_ledger *l, uint32_t slot) { atomic_store(&l->arena->sums[slot], 0); }

static int clear_cell(uint32_t slot, void *context) {
  struct cow_ledger *l = context;
  unsigned b = 0;
  int r = get_block(l, cow_disk_cells_block(slot), &b);
  if (r < 0)
    return r;
  memset(cached(l, b) + (size_t)(slot % COW_DISK_BLOCK_CELLS) * COW_DISK_CELL_BYTES, 0, COW_DISK_CELL_BYTES);
  l->blocks[b].changed = true;
  return 0;
}

static int forget_one(uint32_t slot, void *context) {
  cow_ledger_forget(context, slot);
  return 0;
}

int cow_ledger_clear_unpublished(struct cow_ledger *l) {
  int r = cow_arena_visit_unpublished(l->arena, clear_cell, l);
  for (unsigned i = 0; i < LEDGER_BLOCKS && r >= 0; i++)
    r = write_back(l, i);
  if (r >= 0 && fdatasync(l->storage_fd) < 0)
    r = -errno;
  if (r >= 0)
    r = cow_arena_visit_unpublished(l->arena, forget_one, l);
  return cow_ledger_failed(l, r);
}

bool cow_ledger_verify(const struct cow_ledger *l, uint32_t slot, const void *data) {
  return cow_disk_data_sum(&l->super, data) == atomic_load_explicit(&l->arena->sums[slot], memory_order_relaxed);
}
