/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/ondisk.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

enum {
  VERSION_AT = 8,
  VERSION_OLDEST = 1, /* the place of holes_max is 0 there: the same layout */
  SUPER_BYTES = COW_SECTOR_BYTES,
  FLAG_CLEAN = 1,
  FLAG_WITNESSED = 2,
  FLAG_HELD = 1, /* of a record */
};

static const unsigned char magic[8] = {'u', 'm', 'b', 'r', 'a', 'c', 'o', 'w'};

static void put32(unsigned char **at, uint32_t value) {
  value = htole32(value);
  memcpy(*at, &value, sizeof value);
  *at += sizeof value;
}
static void put64(unsigned char **at, uint64_t value) {
  value = htole64(value);
  memcpy(*at, &value, sizeof value);
  *at += sizeof value;
}
static void put_bytes(unsigned char **at, const void *bytes, size_t count) {
  memcpy(*at, bytes, count);
  *at += count;
}
static uint32_t get32(const unsigned char **at) {
  uint32_t value;
  memcpy(&value, *at, sizeof value);
  *at += sizeof value;
  return le32toh(value);
}
static uint64_t get64(const unsigned char **at) {
  uint64_t value;
  memcpy(&value, *at, sizeof value);
  *at += sizeof value;
  return le64toh(value);
}
static void get_bytes(const unsigned char **at, void *bytes, size_t count) {
  memcpy(bytes, *at, count);
  *at += count;
}

/* The last 8 bytes of what they cover. */
static void seal(unsigned char *from, size_t bytes, uint64_t seed) {
  unsigned char *at = from + bytes - sizeof(uint64_t);
  put64(&at, XXH3_64bits_withSeed(from, bytes - sizeof(uint64_t), seed));
}
static bool sealed(const unsigned char *from, size_t bytes, uint64_t seed) {
  const unsigned char *at = from + bytes - sizeof(uint64_t);
  return get64(&at) == XXH3_64bits_withSeed(from, bytes - sizeof(uint64_t), seed);
}

static bool all_zero(const unsigned char *at, size_t bytes) {
  return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

void cow_disk_super_encode(const struct cow_disk_super *s, unsigned char block[COW_DISK_BLOCK_BYTES]) {
  unsigned char *at = block;
  memset(block, 0, COW_DISK_BLOCK_BYTES);
  put_bytes(&at, magic, sizeof magic);
  put32(&at, COW_DISK_VERSION);
  put32(&at, (s->clean ? FLAG_CLEAN : 0) | (s->witnessed ? FLAG_WITNESSED : 0));
  put_bytes(&at, s->uuid, sizeof s->uuid);
  put64(&at, s->sequence);
  put64(&at, s->volume_bytes);
  put32(&at, s->chunk_bytes);
  put32(&at, s->slots_max);
  put64(&at, s->seed);
  put64(&at, s->durable);
  put32(&at, s->next_number);
  put32(&at, s->holes_max);
  put64(&at, (uint64_t)s->created_ns);
  put_bytes(&at, s->identity, sizeof s->identity);
  for (unsigned i = 0; i < COW_WITNESS_SECTORS; i++) {
    put64(&at, s->witness[i][0]);
    put64(&at, s->witness[i][1]);
  }
  seal(block, SUPER_BYTES, 0);
}

uint32_t cow_disk_holes_for(const struct cow_geometry *g, uint32_t slots) {
  uint64_t holes = (uint64_t)slots * COW_DISK_HOLES_PER_SLOT, chunks = cow_chunk_count(g);
  holes = holes < chunks ? holes : chunks;
  return holes < COW_SLOTS_MAX - slots ? (uint32_t)holes : COW_SLOTS_MAX - slots;
}

static bool super_possible(const struct cow_disk_super *s) {
  struct cow_geometry g = {.volume_bytes = s->volume_bytes, .chunk_bytes = s->chunk_bytes};
  return cow_geometry_valid(&g) && s->slots_max > 0 && s->slots_max <= COW_SLOTS_MAX &&
         s->holes_max <= cow_disk_holes_for(&g, s->slots_max) && s->next_number > 0 &&
         s->next_number <= COW_NUMBER_MAX && memchr(s->identity, 0, sizeof s->identity) != NULL;
}

int cow_disk_super_decode(const unsigned char block[COW_DISK_BLOCK_BYTES], struct cow_disk_super *ret) {
  const unsigned char *at = block + VERSION_AT;
  if (memcmp(block, magic, sizeof magic) != 0)
    return -ENODATA;
  uint32_t version = get32(&at), flags = get32(&at);
  if (version > COW_DISK_VERSION)
    return -EPROTONOSUPPORT;
  if (version < VERSION_OLDEST || !sealed(block, SUPER_BYTES, 0))
    return -EUCLEAN;
  struct cow_disk_super s = {.clean = flags & FLAG_CLEAN, .witnessed = flags & FLAG_WITNESSED};
  get_bytes(&at, s.uuid, sizeof s.uuid);
  s.sequence = get64(&at);
  s.volume_bytes = get64(&at);
  s.chunk_bytes = get32(&at);
  s.slots_max = get32(&at);
  s.seed = get64(&at);
  s.durable = get64(&at);
  s.next_number = get32(&at);
  s.holes_max = get32(&at);
  s.created_ns = (int64_t)get64(&at);
  get_bytes(&at, s.identity, sizeof s.identity);
  for (unsigned i = 0; i < COW_WITNESS_SECTORS; i++) {
    s.witness[i][0] = get64(&at);
    s.witness[i][1] = get64(&at);
  }
  if (!super_possible(&s))
    return -EUCLEAN;
  *ret = s;
  return 0;
}

/* A record or cell at another's place does not verify. */
static uint64_t seed_at(const struct cow_disk_super *s, uint64_t kind, uint64_t place) {
  return s->seed ^ (kind << 56) ^ place;
}
enum { KIND_RECORD = 1, KIND_CELL, KIND_DATA, KIND_WITNESS };

void cow_disk_record_encode(const struct cow_disk_super *s, uint32_t index, const struct cow_disk_record *r,
                            unsigned char at[COW_DISK_RECORD_BYTES]) {
  unsigned char *to = at;
  memset(at, 0, COW_DISK_RECORD_BYTES);
  put32(&to, r->number);
  put32(&to, r->state);
  put64(&to, (uint64_t)r->created_ns);
  put_bytes(&to, r->id, sizeof r->id);
  put_bytes(&to, r->why, sizeof r->why);
  put32(&to, r->held ? FLAG_HELD : 0);
  seal(at, COW_DISK_RECORD_BYTES, seed_at(s, KIND_RECORD, index));
}

enum cow_disk_found cow_disk_record_decode(const struct cow_disk_super *s, uint32_t index,
                                           const unsigned char at[COW_DISK_RECORD_BYTES],
                                           struct cow_disk_record *ret) {
  *ret = (struct cow_disk_record){.state = COW_DISK_GONE};
  if (all_zero(at, COW_DISK_RECORD_BYTES))
    return COW_DISK_NONE;
  if (!sealed(at, COW_DISK_RECORD_BYTES, seed_at(s, KIND_RECORD, index)))
    return COW_DISK_DAMAGED;
  struct cow_disk_record r = {.number = get32(&at)};
  uint32_t state = get32(&at);
  r.created_ns = (int64_t)get64(&at);
  get_bytes(&at, r.id, sizeof r.id);
  get_bytes(&at, r.why, sizeof r.why);
  r.held = get32(&at) & FLAG_HELD;
  if (state >= COW_DISK_STATES || r.number == 0 || r.number >= COW_NUMBER_MAX || r.id[0] == '\0' ||
      !memchr(r.id, 0, sizeof r.id) || !memchr(r.why, 0, sizeof r.why))
    return COW_DISK_DAMAGED;
  r.state = (enum cow_disk_state)state;
  *ret = r;
  return COW_DISK_GOOD;
}

static uint32_t cell_sum(const struct cow_disk_super *s, uint32_t slot, const unsigned char *at) {
  return (uint32_t)XXH3_64bits_withSeed(at, COW_DISK_CELL_BYTES - sizeof(uint32_t), seed_at(s, KIND_CELL, slot));
}

void cow_disk_cell_encode(const struct cow_disk_super *s, uint32_t slot, const struct cow_disk_cell *c,
                          unsigned char at[COW_DISK_CELL_BYTES]) {
  unsigned char *to = at;
  put64(&to, c->key);
  put64(&to, c->generation);
  put64(&to, c->durable);
  put32(&to, c->sum);
  put32(&to, cell_sum(s, slot, at));
}

enum cow_disk_found cow_disk_cell_decode(const struct cow_disk_super *s, uint32_t slot,
                                         const unsigned char at[COW_DISK_CELL_BYTES], struct cow_disk_cell *ret) {
  const unsigned char *from = at;
  struct cow_geometry g = {.volume_bytes = s->volume_bytes, .chunk_bytes = s->chunk_bytes};
  if (all_zero(at, COW_DISK_CELL_BYTES))
    return COW_DISK_NONE;
  struct cow_disk_cell c = {.key = get64(&from)};
  c.generation = get64(&from);
  c.durable = get64(&from);
  c.sum = get32(&from);
  if (get32(&from) != cell_sum(s, slot, at) || cow_key_epoch(c.key) == 0 || cow_key_epoch(c.key) == COW_NUMBER_MAX ||
      cow_key_chunk(c.key) >= cow_chunk_count(&g) || c.durable >= c.generation || c.sum == 0 ||
      c.generation == UINT64_MAX || (slot >= s->slots_max && c.sum != COW_DISK_HOLE_SUM))
    return COW_DISK_DAMAGED;
  *ret = c;
  return COW_DISK_GOOD;
}

uint32_t cow_disk_data_sum(const struct cow_disk_super *s, const void *data) {
  uint32_t sum = (uint32_t)XXH3_64bits_withSeed(data, s->chunk_bytes, seed_at(s, KIND_DATA, 0));
  return sum ? sum : 1;
}

uint64_t cow_disk_sector_sum(const struct cow_disk_super *s, const void *sector) {
  return XXH3_64bits_withSeed(sector, COW_SECTOR_BYTES, seed_at(s, KIND_WITNESS, 0)) | 1;
}

static uint64_t bytes_for(const struct cow_geometry *g, uint32_t slots) {
  return cow_disk_slots_start(slots + cow_disk_holes_for(g, slots)) + (uint64_t)slots * g->chunk_bytes;
}

uint32_t cow_disk_slots_for(const struct cow_geometry *g, uint64_t storage_bytes) {
  uint64_t most = storage_bytes / g->chunk_bytes;
  uint32_t slots = most < COW_SLOTS_MAX ? (uint32_t)most : COW_SLOTS_MAX;
  /* The cells take few of its bytes; what they take off is taken off once. */
  while (slots > 0 && bytes_for(g, slots) > storage_bytes) {
    uint64_t less = (bytes_for(g, slots) - storage_bytes + g->chunk_bytes - 1) / g->chunk_bytes;
    slots = less < slots ? slots - (uint32_t)less : 0;
  }
  return slots;
}
