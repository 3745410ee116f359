/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_MAGIC UINT64_C(0x34616e6572616275) /* "ubarena4" */

static const char *const region_names[COW_REGIONS] = {
    "umbra-cow-header",   "umbra-cow-keys", "umbra-cow-covered-a", "umbra-cow-covered-b",
    "umbra-cow-overlays", "umbra-cow-sums", "umbra-cow-extents"};

static void set_sizes(struct cow_arena *a, const struct cow_geometry *g, uint32_t slots_max, uint32_t holes_max) {
  uint64_t slots_and_holes = (uint64_t)slots_max + holes_max;
  uint64_t covered_bytes = (cow_chunk_count(g) + 63) / 64 * 8;
  a->bytes[COW_REGION_HEADER] = sizeof(struct cow_arena_header);
  a->bytes[COW_REGION_KEYS] = slots_and_holes * sizeof(uint64_t);
  a->bytes[COW_REGION_COVERED_A] = a->bytes[COW_REGION_COVERED_B] = covered_bytes;
  a->bytes[COW_REGION_OVERLAYS] = (uint64_t)slots_max * sizeof(uint64_t);
  a->bytes[COW_REGION_SUMS] = slots_and_holes * sizeof(uint32_t);
  a->bytes[COW_REGION_EXTENTS] = sizeof(struct cow_extents);
}

static int map_all(struct cow_arena *a, struct umbra_error *err) {
  for (int r = 0; r < COW_REGIONS; r++) {
    void *at = mmap(NULL, a->bytes[r], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, a->fds[r], 0);
    if (at == MAP_FAILED)
      return error_errno(err, "mapping %s", region_names[r]);
    a->at[r] = at;
  }
  a->header = a->at[COW_REGION_HEADER];
  a->keys = a->at[COW_REGION_KEYS];
  a->overlays = a->at[COW_REGION_OVERLAYS];
  a->sums = a->at[COW_REGION_SUMS];
  a->extents = a->at[COW_REGION_EXTENTS];
  return 0;
}

static void forget(struct cow_arena *a) {
  *a = (struct cow_arena){0};
  for (int r = 0; r < COW_REGIONS; r++)
    a->fds[r] = -1;
}

static uint32_t holes_possible(const struct cow_geometry *g, uint32_t slots_max) {
  uint64_t chunks = cow_chunk_count(g);
  return chunks < COW_SLOTS_MAX - slots_max ? (uint32_t)chunks : COW_SLOTS_MAX - slots_max;
}

int cow_arena_create(struct cow_arena *a, const struct cow_geometry *g, uint32_t slots_max, uint32_t holes_max,
                     struct umbra_error *err) {
  forget(a);
  if (!cow_geometry_valid(g) || slots_max == 0 || slots_max > COW_SLOTS_MAX)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "chunks of %u bytes do not fit a volume of %llu bytes",
                     g->chunk_bytes, (unsigned long long)g->volume_bytes);
  uint32_t holes = holes_possible(g, slots_max);
  holes = holes_max < holes ? holes_max : holes;
  set_sizes(a, g, slots_max, holes);
  for (int r = 0; r < COW_REGIONS; r++) {
    a->fds[r] = memfd_create(region_names[r], MFD_CLOEXEC);
    if (a->fds[r] < 0 || ftruncate(a->fds[r], (off_t)a->bytes[r]) < 0) {
      int code = error_errno(err, "getting memory for %s", region_names[r]);
      cow_arena_done(a);
      return code;
    }
  }
  int r = map_all(a, err);
  if (r < 0) {
    cow_arena_done(a);
    return r;
  }
  a->header->volume_bytes = g->volume_bytes;
  a->header->chunk_bytes = g->chunk_bytes;
  a->header->slots_max = slots_max;
  a->header->holes_max = holes;
  a->header->next_number = 1;
  a->header->magic = ARENA_MAGIC;
  return 0;
}

/* Another process, maybe of another version, wrote it: sizes first, then what they should be by the header. */
static int check_adopted(struct cow_arena *a, struct umbra_error *err) {
  struct cow_arena_header h;
  struct stat st;
  if (pread(a->fds[COW_REGION_HEADER], &h, sizeof h, 0) != sizeof h || h.magic != ARENA_MAGIC)
    return error_set(err, -EUCLEAN, UMBRA_REASON_INTERNAL, "the arena is not one of this version");
  struct cow_geometry g = {.volume_bytes = h.volume_bytes, .chunk_bytes = h.chunk_bytes};
  if (!cow_geometry_valid(&g) || h.slots_max == 0 || h.slots_max > COW_SLOTS_MAX ||
      h.holes_max > holes_possible(&g, h.slots_max))
    return error_set(err, -EUCLEAN, UMBRA_REASON_INTERNAL, "the arena's header is damaged");
  set_sizes(a, &g, h.slots_max, h.holes_max);
  for (int r = 0; r < COW_REGIONS; r++) {
    if (fstat(a->fds[r], &st) < 0)
      return error_errno(err, "looking at %s", region_names[r]);
    if ((uint64_t)st.st_size != a->bytes[r])
      return error_set(err, -EUCLEAN, UMBRA_REASON_INTERNAL, "%s has %lld bytes", region_names[r],
                       (long long)st.st_size);
  }
  return 0;
}

int cow_arena_adopt(struct cow_arena *a, const int fds[COW_REGIONS], struct umbra_error *err) {
  forget(a);
  memcpy(a->fds, fds, sizeof a->fds);
  int r = check_adopted(a, err);
  if (r >= 0)
    r = map_all(a, err);
  if (r < 0)
    cow_arena_done(a);
  return r;
}

void cow_arena_done(struct cow_arena *a) {
  for (int r = 0; r < COW_REGIONS; r++) {
    if (a->at[r])
      (void)munmap(a->at[r], a->bytes[r]);
    if (a->fds[r] >= 0 && a->bytes[r] > 0)
      (void)close(a->fds[r]);
  }
  forget(a);
}

/* The slots whose elements lie in the next pages in use at or after from; false: there are none. */
static bool next_in_use(int fd, size_t element_bytes, uint64_t from, uint64_t *ret_first, uint64_t *ret_end) {
  off_t first = lseek(fd, (off_t)(from * element_bytes), SEEK_DATA);
  off_t end = first < 0 ? -1 : lseek(fd, first, SEEK_HOLE);
  if (end < 0)
    return false;
  *ret_first = (uint64_t)first / element_bytes;
  *ret_end = (uint64_t)end / element_bytes;
  return true;
}

static int visit_keys_of(const struct cow_arena *a, enum cow_region region,
                         int (*visit)(uint32_t slot, uint64_t key, void *context), void *context) {
  _Atomic uint64_t *keys = a->at[region];
  int r = 0;
  for (uint64_t slot = 0, end = 0; r == 0 && next_in_use(a->fds[region], sizeof *keys, end, &slot, &end);)
    for (; slot < end && r == 0; slot++) {
      uint64_t key = atomic_load_explicit(&keys[slot], memory_order_acquire);
      if (key != 0)
        r = visit((uint32_t)slot, key, context);
    }
  return r;
}

int cow_arena_visit_keys(const struct cow_arena *a, int (*visit)(uint32_t slot, uint64_t key, void *context),
                         void *context) {
  return visit_keys_of(a, COW_REGION_KEYS, visit, context);
}

int cow_arena_visit_overlays(const struct cow_arena *a, int (*visit)(uint32_t slot, uint64_t key, void *context),
                             void *context) {
  return visit_keys_of(a, COW_REGION_OVERLAYS, visit, context);
}

int cow_arena_visit_unpublished(const struct cow_arena *a, int (*visit)(uint32_t slot, void *context),
                                void *context) {
  int r = 0;
  for (uint64_t slot = 0, end = 0; r == 0 && next_in_use(a->fds[COW_REGION_SUMS], sizeof *a->sums, end, &slot, &end);)
    for (; slot < end && r == 0; slot++)
      if (atomic_load(&a->sums[slot]) != 0 && atomic_load(&a->keys[slot]) == 0)
        r = visit((uint32_t)slot, context);
  return r;
}

int cow_arena_visit_covered(const struct cow_arena *a, enum cow_region region,
                            int (*visit)(uint64_t chunk, void *context), void *context) {
  const _Atomic uint64_t *words = a->at[region];
  int r = 0;
  for (uint64_t i = 0, end = 0; r == 0 && next_in_use(a->fds[region], sizeof *words, end, &i, &end);)
    for (; i < end && i < a->bytes[region] / sizeof *words && r == 0; i++)
      for (uint64_t left = atomic_load(&words[i]); left != 0 && r == 0; left &= left - 1)
        r = visit(i * 64 + (uint64_t)__builtin_ctzll(left), context);
  return r;
}

int cow_arena_clear(struct cow_arena *a, enum cow_region region, struct umbra_error *err) {
  if (fallocate(a->fds[region], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)a->bytes[region]) < 0)
    return error_errno(err, "clearing %s", region_names[region]);
  return 0;
}

uint64_t cow_arena_memory_bytes(const struct cow_arena *a) {
  uint64_t bytes = 0;
  struct stat st;
  for (int r = 0; r < COW_REGIONS; r++)
    if (fstat(a->fds[r], &st) == 0)
      bytes += (uint64_t)st.st_blocks * 512;
  return bytes;
}
