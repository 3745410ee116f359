/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the scope walk that need no filesystem: what was seen, what was read, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "providers/clone/scope-cache.h"
#include "providers/clone/scope-inode-set.h"
#include "providers/clone/scope.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Numbers as filesystems give them: runs of neighbours, far apart, up to the largest. */
static void test_inode_set(void **state) {
  (void)state;
  enum { RUNS = 5000, RUN = 100 };
  struct scope_inode_set set = {0};
  for (int round = 0; round < 2; round++)
    for (uint64_t i = 0; i < RUNS; i++)
      for (uint64_t j = 0; j < RUN; j++)
        assert_int_equal(scope_inode_set_add(&set, i * UINT64_C(0x1234567891) + j), round == 0);
  assert_true(set.count >= RUNS * 2 && set.count <= RUNS * 3);
  assert_int_equal(scope_inode_set_add(&set, UINT64_MAX), 1);
  assert_int_equal(scope_inode_set_add(&set, UINT64_MAX), 0);
  assert_int_equal(scope_inode_set_add(&set, 0), 0); /* the first of all */
  scope_inode_set_done(&set);
  assert_null(set.chunks);
  assert_int_equal(scope_inode_set_add(&set, 0), 1);
  scope_inode_set_done(&set);
}

/* A source whose byte at each offset is known, that refuses ranges which touch [bad, bad + 4096). */
struct made_source {
  uint64_t bad;
  int refusal;
  unsigned reads;
};

static uint8_t byte_at(uint64_t offset_bytes) { return (uint8_t)(offset_bytes * 31 + (offset_bytes >> 12) * 7); }

static int read_made(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  struct made_source *source = context;
  source->reads++;
  if (source->refusal && offset_bytes < source->bad + 4096 && offset_bytes + length_bytes > source->bad)
    return source->refusal;
  for (size_t i = 0; i < length_bytes; i++)
    ((uint8_t *)buffer)[i] = byte_at(offset_bytes + i);
  return 0;
}

static void check_read(struct scope_cache *cache, const struct scope_source *source, uint64_t offset, size_t length) {
  uint8_t *buffer = malloc(length);
  assert_non_null(buffer);
  assert_int_equal(scope_cache_read(cache, source, offset, buffer, length), 0);
  for (size_t i = 0; i < length; i++)
    assert_int_equal(buffer[i], byte_at(offset + i));
  free(buffer);
}

static void test_cache(void **state) {
  (void)state;
  struct made_source made = {.bad = 40960, .refusal = -ESTALE};
  struct scope_source source = {.read = read_made, .context = &made, .size_bytes = 1000003};
  struct scope_cache cache = {0};
  assert_int_equal(scope_cache_init(&cache), 0);
  check_read(&cache, &source, 5, 100);
  check_read(&cache, &source, 200, 1);
  assert_int_equal(made.reads, 1);
  /* Over several lines, and to the very end, which is not on a boundary. */
  check_read(&cache, &source, 100000, 60000);
  check_read(&cache, &source, source.size_bytes - 10, 10);
  /* The neighbour cannot be had; what is asked for can. */
  check_read(&cache, &source, 36864, 4096);
  check_read(&cache, &source, 45056, 1000);
  uint8_t byte;
  assert_int_equal(scope_cache_read(&cache, &source, 40960, &byte, 1), -ESTALE);
  scope_cache_done(&cache);
}

struct ending {
  const char *filesystem;
  uint64_t size_bytes;
  int refusal; /* of the first block */
  bool cancelled;
  int code;
};

/* Each end that needs no filesystem says what it is, in both modes. */
static void test_endings(void **state) {
  (void)state;
  static const struct ending endings[] = {
      {"vfat", 1 << 20, 0, false, -EOPNOTSUPP}, {"ext4", 1 << 20, -EIO, false, -EIO},
      {"xfs", 1 << 20, -ENXIO, false, -ENXIO},  {"ext4", 1 << 20, 0, true, -ECANCELED},
      {"xfs", 1 << 20, 0, true, -ECANCELED},    {"ext2", 0, 0, false, -EUCLEAN},
      {"xfs", 0, 0, false, -EUCLEAN},           {"ext4", 1500, 0, false, -EUCLEAN},
      {"xfs", 511, 0, false, -EUCLEAN},         {"ext3", 1 << 20, 0, false, -EUCLEAN},
      {"xfs", 1 << 20, 0, false, -EUCLEAN},
  };
  char *paths[] = {(char[]){"etc"}, NULL};
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    for (int mode = SCOPE_LIVE; mode <= SCOPE_EXACT; mode++) {
      const struct ending *e = &endings[i];
      struct made_source made = {.bad = 0, .refusal = e->refusal};
      atomic_bool cancelled = e->cancelled;
      struct scope_source source = {
          .read = read_made, .context = &made, .size_bytes = e->size_bytes, .cancelled = &cancelled};
      struct bitmap wanted;
      struct umbra_error err = {0};
      assert_int_equal(bitmap_init(&wanted, 256), 0);
      assert_int_equal(scope_walk(&source, e->filesystem, paths, (enum scope_mode)mode, 12, &wanted, &err), e->code);
      assert_int_equal(err.code, e->code);
      assert_true(err.message[0]);
      bitmap_done(&wanted);
    }
}

static void test_supports(void **state) {
  (void)state;
  assert_true(scope_supports("ext2") && scope_supports("ext3") && scope_supports("ext4") && scope_supports("xfs"));
  assert_false(scope_supports("btrfs") || scope_supports("") || scope_supports("ext"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_inode_set), cmocka_unit_test(test_cache),
                                     cmocka_unit_test(test_endings), cmocka_unit_test(test_supports)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
