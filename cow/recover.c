/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/recover.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/ledger-read.h"
#include "cow/map.h"
#include "cow/shadows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct looking {
  int storage_fd;
  struct cow_arena *arena;
  struct bitmap *clear;
  struct cow_recovery *found;
  struct cow_map map;
  unsigned char *buffer; /* COW_CHUNK_BYTES_MAX */
  uint64_t durable;
  uint32_t number; /* the greatest that is or was in use */
};

static void note_number(struct looking *k, uint32_t number) { k->number = number > k->number ? number : k->number; }

/* ---- the table ---- */

static int take_record(uint32_t index, enum cow_disk_found found, const struct cow_disk_record *record,
                       void *context) {
  struct looking *k = context;
  struct cow_arena_shadow *s = &k->arena->header->shadows[index];
  k->found->damaged_records += found == COW_DISK_DAMAGED;
  if (found == COW_DISK_GOOD)
    note_number(k, record->number);
  if (found != COW_DISK_GOOD || record->state == COW_DISK_GONE)
    return 0;
  memcpy(s->id, record->id, sizeof s->id);
  memcpy(s->why, record->why, sizeof s->why);
  s->number = record->number;
  s->created_ns = record->created_ns;
  s->held = record->held;
  atomic_store(&s->kept, COW_KEPT_RECORDED);
  atomic_store(&s->state, record->state == COW_DISK_LIVE ? COW_SHADOW_LIVE : COW_SHADOW_DROPPED);
  return 0;
}

/* Two of one number or name are nobody's work but damage. */
static bool table_sound(const struct cow_arena_header *h) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    for (size_t j = 0; j < i && cow_shadow_state_of(&h->shadows[i]) != COW_SHADOW_FREE; j++)
      if (cow_shadow_state_of(&h->shadows[j]) != COW_SHADOW_FREE &&
          (h->shadows[i].number == h->shadows[j].number || strcmp(h->shadows[i].id, h->shadows[j].id) == 0))
        return false;
  return true;
}

static void drop_live(struct looking *k, const char *why) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    struct cow_arena_shadow *s = &k->arena->header->shadows[i];
    if (cow_shadow_state_of(s) != COW_SHADOW_LIVE)
      continue;
    (void)snprintf(s->why, sizeof s->why, "%s", why);
    (void)cow_shadow_move(s, COW_SHADOW_EVENT_DROP);
    (void)snprintf(k->found->why_dropped, sizeof k->found->why_dropped, "%s", why);
  }
}

static bool any_live(const struct cow_arena_header *h) { return cow_shadows_oldest((struct cow_arena_header *)h, 0); }

static int look_at_origin(struct looking *k, int origin_fd, struct umbra_error *err) {
  uint64_t sums[COW_WITNESS_SECTORS];
  if (origin_fd < 0 || !any_live(k->arena->header))
    return 0;
  int r = cow_witness_read(origin_fd, &k->found->super, k->buffer, sums);
  if (r < 0)
    return error_code(err, r, "reading the volume");
  if (!k->found->super.witnessed || !cow_witness_agrees(&k->found->super, sums))
    drop_live(k, "the volume was changed while it was not attached");
  return 0;
}

/* ---- the cells ---- */

/* A hole's needs nothing; a slot may be one that the storage has been cut off before. */
static bool is_there(const struct looking *k, uint32_t slot) {
  return slot >= k->found->super.slots_max || slot < k->found->slots;
}

static int note_cell(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell, void *context) {
  struct looking *k = context;
  if (found != COW_DISK_GOOD || !is_there(k, slot)) {
    k->found->damaged_cells++;
    return 0;
  }
  k->durable = cell->durable > k->durable ? cell->durable : k->durable;
  k->found->generation = cell->generation > k->found->generation ? cell->generation : k->found->generation;
  note_number(k, cow_key_epoch(cell->key));
  return 0;
}

static bool holds(struct looking *k, uint32_t slot, uint32_t sum) {
  return cow_ledger_slot_holds(k->storage_fd, &k->found->super, slot, sum, k->buffer);
}

static void insert(struct looking *k, uint32_t slot, const struct cow_disk_cell *cell) {
  atomic_store(&k->arena->keys[slot], cell->key);
  atomic_store(&k->arena->sums[slot], cell->sum);
  cow_map_insert(&k->map, slot, true);
}

static int take_cell(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell, void *context) {
  struct looking *k = context;
  uint64_t chunk = cow_key_chunk(cell->key);
  uint32_t epoch = cow_key_epoch(cell->key);
  if (found != COW_DISK_GOOD || !is_there(k, slot)) {
    bitmap_set(k->clear, slot);
    return 0;
  }
  /* A hole counts if it is there (E14): nobody will want what the chunk had. */
  if (cell->generation > k->durable && slot < k->found->super.slots_max) {
    k->found->checked++;
    if (!holds(k, slot, cell->sum)) {
      k->found->unfinished++;
      bitmap_set(k->clear, slot);
      return 0;
    }
  }
  uint32_t other = cow_map_find(&k->map, chunk, epoch);
  /* The same chunk and epoch twice is nobody's work (E2). */
  if (other != COW_SLOT_NONE && cow_key_epoch(atomic_load(&k->arena->keys[other])) == epoch) {
    k->found->damaged_cells++;
    bitmap_set(k->clear, slot);
  } else
    insert(k, slot, cell);
  return 0;
}

struct freeing {
  struct looking *k;
  uint32_t numbers[COW_SHADOWS_MAX];
  size_t count;
};

static int free_if_unneeded(uint32_t slot, uint64_t key, void *context) {
  const struct freeing *f = context;
  struct looking *k = f->k;
  if (cow_shadows_any_between(f->numbers, f->count, cow_map_next_older(&k->map, slot), cow_key_epoch(key))) {
    k->found->needed++;
    return 0;
  }
  k->found->unneeded++;
  cow_map_remove(&k->map, slot);
  atomic_store(&k->arena->keys[slot], 0);
  atomic_store(&k->arena->sums[slot], 0);
  bitmap_set(k->clear, slot);
  return 0;
}

/* E7. In any order: what is not needed stays so whatever else goes. Only where keys are: a look elsewhere takes a
 * page. */
static void free_unneeded(struct looking *k) {
  struct freeing f = {.k = k};
  f.count = cow_shadows_needing(k->arena->header, f.numbers);
  (void)cow_arena_visit_keys(k->arena, free_if_unneeded, &f);
}

static int look_at_cells(struct looking *k, struct umbra_error *err) {
  struct cow_recovery *f = k->found;
  k->durable = f->super.durable;
  f->generation = f->super.durable;
  int r = cow_ledger_visit_cells(k->storage_fd, &f->super, note_cell, k);
  if (r >= 0)
    r = cow_ledger_visit_cells(k->storage_fd, &f->super, take_cell, k);
  if (f->damaged_cells > 0)
    drop_live(k, "the storage is damaged");
  if (r < 0)
    return error_code(err, r, "reading the storage's entries");
  free_unneeded(k);
  return 0;
}

static int look(struct looking *k, int origin_fd, struct umbra_error *err) {
  struct cow_recovery *f = k->found;
  struct cow_arena_header *h = k->arena->header;
  uint32_t cells = cow_disk_cells(&f->super);
  if (cow_map_init(&k->map, k->arena->keys, cells) < 0 || bitmap_init(k->clear, cells) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "memory for the storage's entries");
  note_number(k, f->super.next_number - 1);
  int r = cow_ledger_visit_records(k->storage_fd, &f->super, take_record, k);
  if (r < 0)
    return error_code(err, r, "reading the storage's table");
  /* What a damaged record said may have been that another one lost what it needs. */
  if (f->damaged_records > 0 || !table_sound(h))
    drop_live(k, "the storage is damaged");
  r = look_at_origin(k, origin_fd, err);
  if (r >= 0)
    r = look_at_cells(k, err);
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    f->live += cow_shadow_state_of(&h->shadows[i]) == COW_SHADOW_LIVE;
    f->dropped += cow_shadow_state_of(&h->shadows[i]) == COW_SHADOW_DROPPED;
  }
  atomic_store(&h->instant, (uint64_t)k->number << 1);
  h->next_number = k->number + 1;
  atomic_store(&h->generation, f->generation);
  atomic_store(&h->durable, f->generation);
  return r;
}

/* Before anything is read whose length the superblock says. */
static int check_size(const struct cow_recovery *f, uint64_t volume_bytes, struct umbra_error *err) {
  return f->super.volume_bytes == volume_bytes
             ? 0
             : error_set(err, -EXDEV, UMBRA_REASON_INVALID,
                         "the storage belongs to a volume of %llu bytes, this one has %llu",
                         (unsigned long long)f->super.volume_bytes, (unsigned long long)volume_bytes);
}

int cow_recovery_look(int storage_fd, int origin_fd, uint64_t volume_bytes, struct cow_arena *arena,
                      struct bitmap *clear, struct cow_recovery *ret, struct umbra_error *err) {
  struct looking k = {.storage_fd = storage_fd, .arena = arena, .clear = clear, .found = ret};
  *ret = (struct cow_recovery){0};
  *clear = (struct bitmap){0};
  int r = cow_ledger_read_super(storage_fd, &ret->super, err);
  if (r >= 0)
    r = cow_ledger_slots(storage_fd, &ret->super, &ret->slots, err);
  struct cow_geometry g = {.volume_bytes = ret->super.volume_bytes, .chunk_bytes = ret->super.chunk_bytes};
  if (r >= 0 && volume_bytes != 0)
    r = check_size(ret, volume_bytes, err);
  if (r >= 0)
    r = cow_arena_create(arena, &g, ret->super.slots_max, ret->super.holes_max, err);
  if (r < 0)
    return r;
  k.buffer = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_CHUNK_BYTES_MAX);
  r = k.buffer ? look(&k, origin_fd, err) : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading the storage");
  cow_map_done(&k.map);
  free(k.buffer);
  if (r < 0)
    cow_arena_done(arena);
  return r;
}

/* ---- writing ---- */

static int clear_cells(int fd, const struct bitmap *clear, unsigned char *block) {
  uint64_t at = 0, slot, count;
  int r = 0;
  while (r >= 0 && bitmap_next_run(clear, at, 1, &slot, &count)) {
    uint64_t offset = cow_disk_cells_block((uint32_t)slot);
    uint64_t end = (slot / COW_DISK_BLOCK_CELLS + 1) * COW_DISK_BLOCK_CELLS;
    r = fd_pread_all(fd, block, COW_DISK_BLOCK_BYTES, offset);
    if (r == -EIO)
      memset(block, 0, COW_DISK_BLOCK_BYTES); /* its cells are all damaged, that is all known to be cleared */
    for (; slot < end; slot++)
      if (bitmap_test(clear, slot))
        memset(block + slot % COW_DISK_BLOCK_CELLS * COW_DISK_CELL_BYTES, 0, COW_DISK_CELL_BYTES);
    r = fd_pwrite_all(fd, block, COW_DISK_BLOCK_BYTES, offset);
    at = end;
  }
  return r;
}

static int write_table(int fd, const struct cow_disk_super *super, const struct cow_arena_header *h,
                       unsigned char *block) {
  int r = 0;
  for (uint32_t first = 0; first < COW_SHADOWS_MAX && r >= 0; first += COW_DISK_BLOCK_RECORDS) {
    memset(block, 0, COW_DISK_BLOCK_BYTES);
    for (uint32_t i = first; i < first + COW_DISK_BLOCK_RECORDS; i++) {
      const struct cow_arena_shadow *s = &h->shadows[i];
      enum cow_shadow_state state = cow_shadow_state_of(s);
      struct cow_disk_record record = {.number = s->number,
                                       .state = state == COW_SHADOW_LIVE ? COW_DISK_LIVE : COW_DISK_DROPPED,
                                       .created_ns = s->created_ns,
                                       .held = s->held};
      memcpy(record.id, s->id, sizeof record.id);
      memcpy(record.why, s->why, sizeof record.why);
      if (state != COW_SHADOW_FREE)
        cow_disk_record_encode(super, i, &record, block + i % COW_DISK_BLOCK_RECORDS * COW_DISK_RECORD_BYTES);
    }
    r = fd_pwrite_all(fd, block, COW_DISK_BLOCK_BYTES,
                      COW_DISK_TABLE_START + (uint64_t)first * COW_DISK_RECORD_BYTES);
  }
  return r;
}

static int sync_of(int fd, int r) { return r >= 0 && fdatasync(fd) < 0 ? -errno : r; }

/*
 * The number goes first: those that the table and the cells show are emptied next. Then the table, since what it
 * drops is not needed by the cells. Each flushed before the next begins; the data that was looked at becomes durable
 * with the first. Last the word that all generations are durable: by then those are cleared that are not.
 */
static int settle(int fd, struct cow_recovery *f, const struct cow_arena_header *h, const struct bitmap *clear) {
  CLEANUP_FREE unsigned char *block = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_DISK_BLOCK_BYTES);
  int r = block ? 0 : -ENOMEM;
  for (int last = 0; last < 2 && r >= 0; last++) {
    f->super.sequence++;
    f->super.next_number = h->next_number;
    f->super.clean = false;
    f->super.durable = last ? f->generation : f->super.durable;
    cow_disk_super_encode(&f->super, block);
    r = fd_pwrite_all(fd, block, COW_DISK_BLOCK_BYTES, f->super.sequence % COW_DISK_SUPERS * COW_DISK_BLOCK_BYTES);
    r = sync_of(fd, r);
    if (last || r < 0)
      break;
    r = sync_of(fd, write_table(fd, &f->super, h, block));
    if (r >= 0)
      r = sync_of(fd, clear_cells(fd, clear, block));
  }
  return r;
}

/* If what it held is not what it holds, at least the same filesystem. */
static int check_owner(const struct cow_recovery *f, const char *identity, struct umbra_error *err) {
  const char *theirs = f->super.identity;
  bool changed = f->why_dropped[0] != '\0';
  if (changed && theirs[0] != '\0' && strcmp(theirs, identity) != 0)
    return error_set(err, -EXDEV, UMBRA_REASON_INVALID,
                     "the storage belongs to another volume ('%s', this one is '%s')", theirs, identity);
  return 0;
}

int cow_recover(int storage_fd, int origin_fd, uint64_t volume_bytes, const char *identity, struct cow_arena *arena,
                struct cow_recovery *ret, struct umbra_error *err) {
  struct bitmap clear = {0};
  int r = cow_recovery_look(storage_fd, origin_fd, volume_bytes, arena, &clear, ret, err);
  if (r >= 0) {
    r = check_owner(ret, identity, err);
    if (r >= 0) {
      (void)snprintf(ret->super.identity, sizeof ret->super.identity, "%s", identity);
      r = settle(storage_fd, ret, arena->header, &clear);
      if (r < 0)
        (void)error_code(err, r, "writing to the storage");
    }
    if (r < 0)
      cow_arena_done(arena);
  }
  bitmap_done(&clear);
  return r;
}
