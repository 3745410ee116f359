/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libFuzzer over free_space_visit(): the input is a list of changes to the filesystem image in UMBRA_FUZZ_IMAGE, four
 * bytes each: which of the pages that an undisturbed visit reads (two bytes), where in it in steps of two, the new
 * value.  Every second change is of an odd place.  Ranges must ascend and lie in the volume whatever the image says,
 * and an error has a message. Built and run by tests/long/fuzz-free-space.sh.
 *
 * Built with FUZZ_REPLAY it is a program of its own: fuzz-free-space IMAGE SEED RUNS makes up the inputs.
 */
#include "common/bitmap.h"
#include "cow/free-space/free-space.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_BYTES = 512, CHANGE_BYTES = 4, CHANGES_MAX = 64 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes);

static struct {
  const uint8_t *bytes;
  uint64_t size_bytes;
  struct bitmap read;
  uint64_t *pages, pages_count;
  uint64_t at[CHANGES_MAX];
  uint8_t value[CHANGES_MAX];
  unsigned changes;
  bool noting;
  uint64_t end_bytes; /* of the last range */
} image;

static int read_image(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  (void)context;
  if (offset_bytes > image.size_bytes || length_bytes > image.size_bytes - offset_bytes)
    abort();
  memcpy(buffer, image.bytes + offset_bytes, length_bytes);
  if (image.noting)
    bitmap_set_range(&image.read, offset_bytes / PAGE_BYTES, (length_bytes + PAGE_BYTES - 1) / PAGE_BYTES);
  for (unsigned i = 0; i < image.changes; i++)
    if (image.at[i] >= offset_bytes && image.at[i] < offset_bytes + length_bytes)
      ((uint8_t *)buffer)[image.at[i] - offset_bytes] = image.value[i];
  return 0;
}

static int check_range(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
  (void)context;
  if (offset_bytes < image.end_bytes || length_bytes == 0 || offset_bytes > image.size_bytes ||
      length_bytes > image.size_bytes - offset_bytes)
    abort();
  image.end_bytes = offset_bytes + length_bytes;
  return 0;
}

static int visit(void) {
  struct free_space_source source = {.read = read_image, .volume_bytes = image.size_bytes};
  struct umbra_error err = {0};
  image.end_bytes = 0;
  int r = free_space_visit(&source, check_range, NULL, &err);
  if (r < 0 && err.message[0] == 0)
    abort();
  return r;
}

static int open_image(const char *path) {
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  void *bytes = size <= 0 ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED || bitmap_init(&image.read, (uint64_t)size / PAGE_BYTES + 1) < 0) {
    fprintf(stderr, "fuzz-free-space: no image\n");
    exit(2);
  }
  (void)close(fd);
  image.bytes = bytes;
  image.size_bytes = (uint64_t)size;
  image.noting = true;
  if (visit() < 0) {
    fprintf(stderr, "fuzz-free-space: the image is refused already\n");
    exit(2);
  }
  image.noting = false;
  image.pages = calloc(bitmap_count(&image.read), sizeof *image.pages);
  for (uint64_t i = 0; image.pages && i < image.read.bits; i++)
    if (bitmap_test(&image.read, i))
      image.pages[image.pages_count++] = i;
  return image.pages ? 0 : -1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  return open_image(getenv("UMBRA_FUZZ_IMAGE"));
}

static int visit_changed(const uint8_t *data, size_t length_bytes) {
  image.changes = 0;
  for (; length_bytes >= CHANGE_BYTES && image.changes < CHANGES_MAX;
       data += CHANGE_BYTES, length_bytes -= CHANGE_BYTES) {
    uint64_t page = image.pages[(unsigned)(data[0] << 8 | data[1]) % image.pages_count];
    image.at[image.changes] = page * PAGE_BYTES + (uint64_t)data[2] * 2 + image.changes % 2;
    image.value[image.changes++] = data[3];
  }
  return visit();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes) {
  (void)visit_changed(data, length_bytes);
  return 0;
}

#ifdef FUZZ_REPLAY
enum { RUN_SECONDS_MAX = 20, RUN_CHANGES_MAX = 8 };

/* splitmix64: the same numbers everywhere. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

/* Most changes hit a byte that is not zero: the others mean little. */
static void make_change(uint64_t *random, uint8_t *change) {
  static const uint8_t striking[] = {0, 1, 0x7f, 0x80, 0xff};
  for (int tries = 0; tries < 100; tries++) {
    uint64_t r = next_random(random), page = r % image.pages_count;
    change[0] = (uint8_t)(page >> 8), change[1] = (uint8_t)page, change[2] = (uint8_t)(r >> 32);
    const uint8_t *here = image.bytes + image.pages[page % 65536] * PAGE_BYTES + (size_t)change[2] * 2;
    if (here[0] || here[1])
      break;
  }
  uint64_t value = next_random(random);
  change[3] = value % 2 ? striking[value / 2 % sizeof striking] : (uint8_t)(value >> 8);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: fuzz-free-space IMAGE SEED RUNS\n");
    return 2;
  }
  if (open_image(argv[1]) < 0)
    return 1;
  uint64_t first = strtoull(argv[2], NULL, 10), runs = strtoull(argv[3], NULL, 10), refused = 0;
  for (uint64_t seed = first; seed < first + runs; seed++) {
    uint64_t random = seed;
    uint8_t input[RUN_CHANGES_MAX * CHANGE_BYTES];
    size_t changes = 1 + next_random(&random) % RUN_CHANGES_MAX;
    for (size_t i = 0; i < changes; i++)
      make_change(&random, input + i * CHANGE_BYTES);
    (void)alarm(RUN_SECONDS_MAX);
    refused += visit_changed(input, changes * CHANGE_BYTES) < 0;
  }
  free(image.pages);
  bitmap_done(&image.read);
  printf("%" PRIu64 " visits, %" PRIu64 " refused\n", runs, refused);
  return 0;
}
#endif
