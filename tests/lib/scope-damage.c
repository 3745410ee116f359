/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scope-damage IMAGE FSTYPE SEED RUNS PATH...
 *
 * Walks the scope of the paths in an image again and again, each time with other bytes of its metadata changed. Every
 * walk must end, in an error or not: a crash ends the program, and a walk of more than RUN_SECONDS_MAX too.  Bytes to
 * change are chosen among those that a walk reads; a run is repeated by its seed alone.
 */
#include "common/cleanup.h"
#include "common/fd.h"
#include "providers/clone/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { RUN_SECONDS_MAX = 20, CHANGES_MAX = 8, GRANULE_SHIFT = 12, PAGE_BYTES = 512 };

struct image {
  const uint8_t *bytes;
  uint64_t size_bytes;
  struct bitmap read; /* pages that walks have read, only filled by the first one */
  bool note_reads;
  uint64_t *pages; /* the same as a list */
  uint64_t pages_count;
  unsigned changes;
  uint64_t at[CHANGES_MAX];
  uint8_t value[CHANGES_MAX];
};

static int read_image(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  struct image *image = context;
  if (offset_bytes > image->size_bytes || length_bytes > image->size_bytes - offset_bytes)
    abort();
  memcpy(buffer, image->bytes + offset_bytes, length_bytes);
  if (image->note_reads)
    bitmap_set_range(&image->read, offset_bytes / PAGE_BYTES, (length_bytes + PAGE_BYTES - 1) / PAGE_BYTES);
  for (unsigned i = 0; i < image->changes; i++)
    if (image->at[i] >= offset_bytes && image->at[i] < offset_bytes + length_bytes)
      ((uint8_t *)buffer)[image->at[i] - offset_bytes] = image->value[i];
  return 0;
}

/* splitmix64: the same numbers everywhere. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

/* A byte of a page that was read, most often one that is not zero or lies next to one: numbers are small. */
static uint64_t choose(const struct image *image, uint64_t *random) {
  for (;;) {
    uint64_t at =
        image->pages[next_random(random) % image->pages_count] * PAGE_BYTES + next_random(random) % PAGE_BYTES;
    for (uint64_t i = at; i < at + 16 && i < image->size_bytes; i++)
      if (image->bytes[i])
        return i;
  }
}

static int list_pages(struct image *image) {
  image->pages = calloc(bitmap_count(&image->read), sizeof *image->pages);
  if (!image->pages)
    return -ENOMEM;
  for (uint64_t i = 0; i < image->read.bits; i++)
    if (bitmap_test(&image->read, i))
      image->pages[image->pages_count++] = i;
  return 0;
}

static int walk(struct image *image, const char *filesystem, char **paths, enum scope_mode mode,
                struct bitmap *wanted, struct umbra_error *err) {
  struct scope_source source = {.read = read_image, .context = image, .size_bytes = image->size_bytes};
  bitmap_clear_all(wanted);
  return scope_walk(&source, filesystem, paths, mode, GRANULE_SHIFT, wanted, err);
}

static int run(struct image *image, const char *filesystem, char **paths, uint64_t seed, struct bitmap *wanted) {
  static const uint8_t striking[] = {0, 1, 0x7f, 0x80, 0xff};
  uint64_t random = seed;
  image->changes = 1 + (unsigned)(next_random(&random) % CHANGES_MAX);
  for (unsigned i = 0; i < image->changes; i++) {
    image->at[i] = choose(image, &random);
    uint64_t value = next_random(&random);
    image->value[i] = value % 2 ? striking[value / 2 % sizeof striking] : (uint8_t)(value >> 8);
  }
  (void)alarm(RUN_SECONDS_MAX);
  struct umbra_error err = {0};
  int live = walk(image, filesystem, paths, SCOPE_LIVE, wanted, &err);
  int exact = walk(image, filesystem, paths, SCOPE_EXACT, wanted, &err);
  if (exact < 0 && err.message[0] == 0) {
    fprintf(stderr, "seed %" PRIu64 ": an error without a message\n", seed);
    return -EINVAL;
  }
  if (live == 0 && exact == 0)
    return 0;
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: scope-damage IMAGE FSTYPE SEED RUNS PATH...\n");
    return 2;
  }
  CLEANUP_CLOSE int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
  off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  const void *bytes = size <= 0 ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED) {
    perror("scope-damage");
    return 1;
  }
  struct image image = {.bytes = bytes, .size_bytes = (uint64_t)size, .note_reads = true};
  struct bitmap wanted;
  struct umbra_error err = {0};
  if (bitmap_init(&image.read, image.size_bytes / PAGE_BYTES + 1) < 0 ||
      bitmap_init(&wanted, (image.size_bytes >> GRANULE_SHIFT) + 1) < 0)
    return 1;
  if (walk(&image, argv[2], argv + 5, SCOPE_EXACT, &wanted, &err) < 0) {
    fprintf(stderr, "scope-damage: the image is damaged already: %s\n", err.message);
    return 1;
  }
  image.note_reads = false;
  if (list_pages(&image) < 0)
    return 1;
  uint64_t first = strtoull(argv[3], NULL, 10), runs = strtoull(argv[4], NULL, 10), failed = 0;
  int r = 0;
  for (uint64_t seed = first; seed < first + runs && r >= 0; seed++) {
    r = run(&image, argv[2], argv + 5, seed, &wanted);
    failed += r > 0;
  }
  free(image.pages);
  bitmap_done(&image.read);
  bitmap_done(&wanted);
  if (r < 0)
    return 1;
  printf("%" PRIu64 " walks, %" PRIu64 " met damage\n", runs, failed);
  return 0;
}
