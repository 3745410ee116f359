/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes what reads persistent storage.  The input is a list of changes to a small sound one: raw bytes anywhere, or
 * a superblock, record or cell that is sealed with a right checksum afterwards, computed here as docs/ONDISK.md says,
 * so that the values behind the checksums are reached.  Check, dump and recovery must survive it; what recovery
 * leaves must be sound, the same when it is done again, and serve an engine.  With replay.c it is a program that
 * runs each file of the corpus once.
 */
#include "common/bitmap.h"
#include "cow/engine.h"
#include "cow/inspect.h"
#include "cow/ledger-read.h"
#include "cow/shadows.h"

#include "tests/fuzz/input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Making and ending a context of the kernel's takes a grace period; transfers go one after the other without. */
int io_setup(int events, io_context_t *context) {
  (void)events;
  (void)context;
  return -ENOSYS;
}

enum {
  CHUNK = 4096,
  CHUNKS = 24,
  SLOTS = 40,
  HOLES = 20,
  STORAGE_BYTES = 196608 + SLOTS * CHUNK, /* cells end below 196608 */
  CHANGES_MAX = 64,
};
static const uint64_t seed = UINT64_C(0x0102030405060708);

static unsigned take16(struct input *in) {
  unsigned low = take(in);
  return low | take(in) << 8;
}

static void seal(unsigned char *at, size_t covered_bytes, size_t sum_bytes, uint64_t its_seed) {
  uint64_t sum = XXH3_64bits_withSeed(at, covered_bytes, its_seed);
  memcpy(at + covered_bytes, &sum, sum_bytes);
}

static void make_sound(unsigned char *s) {
  struct cow_disk_super super = {.sequence = 2,
                                 .volume_bytes = (uint64_t)CHUNKS * CHUNK,
                                 .chunk_bytes = CHUNK,
                                 .slots_max = SLOTS,
                                 .holes_max = HOLES,
                                 .seed = seed,
                                 .durable = 3,
                                 .next_number = 9};
  memset(s, 0, STORAGE_BYTES);
  cow_disk_super_encode(&super, s);
  super.sequence = 1;
  cow_disk_super_encode(&super, s + COW_DISK_BLOCK_BYTES);
  for (uint32_t i = 0; i < 3; i++) {
    struct cow_disk_record record = {.number = 2 + i * 3, .state = COW_DISK_LIVE};
    (void)snprintf(record.id, sizeof record.id, "shadow-%u", i);
    cow_disk_record_encode(&super, i, &record, s + COW_DISK_TABLE_START + (size_t)i * COW_DISK_RECORD_BYTES);
  }
  for (uint32_t slot = 0; slot < 20; slot++) {
    unsigned char *data = s + cow_disk_slots_start(SLOTS + HOLES) + (size_t)slot * CHUNK;
    memset(data, (int)slot, CHUNK);
    struct cow_disk_cell cell = {.key = cow_key(slot % 12, 1 + slot / 3),
                                 .generation = 1 + slot / 4,
                                 .durable = slot / 4,
                                 .sum = cow_disk_data_sum(&super, data)};
    cow_disk_cell_encode(&super, slot, &cell, s + COW_DISK_CELLS_START + (size_t)slot * COW_DISK_CELL_BYTES);
  }
  for (uint32_t slot = SLOTS; slot < SLOTS + HOLES / 2; slot++) {
    struct cow_disk_cell cell = {
        .key = cow_key(12 + slot % 3, 1 + slot % 5), .generation = 5, .durable = 4, .sum = COW_DISK_HOLE_SUM};
    cow_disk_cell_encode(&super, slot, &cell, s + COW_DISK_CELLS_START + (size_t)slot * COW_DISK_CELL_BYTES);
  }
}

/* A part of it, from a byte on, is replaced; then it verifies. */
static void change(struct input *in, unsigned char *s) {
  unsigned kind = take(in) % 4, index = take16(in), from = take(in), count = take(in);
  size_t bytes[] = {504, 248, 28, STORAGE_BYTES};
  unsigned char *at = s;
  if (kind == 0)
    at += (size_t)(index % COW_DISK_SUPERS) * COW_DISK_BLOCK_BYTES;
  else if (kind == 1)
    at += COW_DISK_TABLE_START + (size_t)(index %= COW_SHADOWS_MAX) * COW_DISK_RECORD_BYTES;
  else if (kind == 2)
    at += COW_DISK_CELLS_START + (size_t)(index %= SLOTS + HOLES) * COW_DISK_CELL_BYTES;
  size_t begin = kind == 3 ? (size_t)index * 8 % STORAGE_BYTES + from : from * 2 % bytes[kind];
  if (begin < bytes[kind])
    take_bytes(in, at + begin, count < bytes[kind] - begin ? count : bytes[kind] - begin);
  if (kind == 0)
    seal(at, 504, 8, 0);
  else if (kind == 1)
    seal(at, 248, 8, seed ^ UINT64_C(1) << 56 ^ index);
  else if (kind == 2)
    seal(at, 28, 4, seed ^ UINT64_C(2) << 56 ^ index);
}

static void count_problem(const char *text, void *context) { *(unsigned *)context += text[0] != '\0'; }
static int seen_super(unsigned index, int code, const struct cow_disk_super *super, void *context) {
  (void)super;
  *(unsigned *)context += index + (unsigned)code;
  return 0;
}
static int seen_record(uint32_t index, enum cow_disk_found found, const struct cow_disk_record *record,
                       void *context) {
  *(unsigned *)context += index + found + (unsigned)strlen(record->id) + (unsigned)strlen(record->why);
  return 0;
}
static int seen_cell(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell, void *context) {
  *(unsigned *)context += slot + found + (unsigned)cell->key;
  return 0;
}

/* Each live one can be read, or says that it cannot. */
static void serve(int storage_fd, int origin_fd, struct cow_arena *arena) {
  static unsigned char buffer[COW_REQUEST_BYTES_MAX] __attribute__((aligned(COW_BUFFER_ALIGNMENT)));
  struct cow_arena_header *h = arena->header;
  struct cow_storage_options so = {.fd = storage_fd,
                                   .chunk_bytes = h->chunk_bytes,
                                   .limit_bytes = (uint64_t)h->slots_max * h->chunk_bytes,
                                   .start_bytes = cow_disk_slots_start(h->slots_max + h->holes_max)};
  struct cow_engine_options eo = {.origin_fd = origin_fd, .arena = arena, .lanes = 1};
  struct cow_engine *e = NULL;
  static struct cow_shadow_info info[COW_SHADOWS_MAX];
  must(cow_storage_open(&so, &eo.storage, NULL) >= 0, "the storage does not open");
  must(cow_ledger_open(storage_fd, origin_fd, arena, &eo.ledger, NULL) >= 0, "the ledger does not open");
  must(cow_engine_open(&eo, &e, NULL) >= 0, "the engine does not start");
  must(cow_engine_check(e) == NULL, "the index is not what it should be");
  size_t count = cow_engine_list(e, info, COW_SHADOWS_MAX);
  for (size_t i = 0; i < count; i++) {
    struct cow_shadow *s = NULL;
    if (cow_shadow_open(e, info[i].id, &s, NULL) < 0)
      continue;
    uint64_t bytes = h->volume_bytes < COW_REQUEST_BYTES_MAX ? h->volume_bytes : COW_REQUEST_BYTES_MAX;
    (void)cow_shadow_read(s, buffer, bytes, 0);
    cow_shadow_close(s);
  }
  cow_engine_close(e);
  cow_ledger_close(eo.ledger);
  cow_storage_close(eo.storage);
}

static unsigned live_ones(const struct cow_arena_header *h) {
  unsigned live = 0;
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    live += cow_shadow_state_of(&h->shadows[i]) == COW_SHADOW_LIVE;
  return live;
}

static void recover(int storage_fd, int origin_fd) {
  struct cow_disk_super super;
  struct cow_recovery first, again, checked;
  struct cow_arena arena;
  unsigned problems = 0;
  if (cow_ledger_read_super(storage_fd, &super, NULL) < 0 ||
      cow_recover(storage_fd, origin_fd, super.volume_bytes, "", &arena, &first, NULL) < 0)
    return;
  must(live_ones(arena.header) == first.live, "it counts other live ones than there are");
  cow_arena_done(&arena);
  must(cow_inspect_check(storage_fd, count_problem, &problems, &checked, NULL) >= 0, "it cannot be checked any more");
  must(checked.unneeded == 0 && checked.unfinished == 0 && checked.damaged_cells == 0 && checked.damaged_records == 0,
       "recovery left what it should have cleared");
  must(cow_recover(storage_fd, origin_fd, super.volume_bytes, "", &arena, &again, NULL) >= 0, "not a second time");
  must(again.live == first.live && again.dropped == first.dropped && again.needed == first.needed,
       "a second recovery finds something else");
  serve(storage_fd, origin_fd, &arena);
  cow_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned char storage[STORAGE_BYTES];
  static const struct cow_inspect_visits visits = {.super = seen_super, .record = seen_record, .cell = seen_cell};
  struct input in = {data, size};
  struct cow_recovery found;
  unsigned seen = 0;
  make_sound(storage);
  for (unsigned i = 0; in.left > 0 && i < CHANGES_MAX; i++)
    change(&in, storage);
  int storage_fd = memfd_create("storage", MFD_CLOEXEC), origin_fd = memfd_create("origin", MFD_CLOEXEC);
  must(storage_fd >= 0 && origin_fd >= 0 && ftruncate(origin_fd, (off_t)CHUNKS * CHUNK) == 0 &&
           pwrite(storage_fd, storage, sizeof storage, 0) == (ssize_t)sizeof storage,
       "no memory");
  (void)cow_inspect_dump(storage_fd, &visits, &seen, NULL);
  (void)cow_inspect_check(storage_fd, count_problem, &seen, &found, NULL);
  recover(storage_fd, origin_fd);
  (void)close(storage_fd);
  (void)close(origin_fd);
  return 0;
}
