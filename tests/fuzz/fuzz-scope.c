/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libFuzzer over scope_walk(): the input is a list of changes to a filesystem image, so that most of them reach deep
 * structures.
 *
 *     UMBRA_FUZZ_IMAGE   an undamaged image        UMBRA_FUZZ_FILESYSTEM   its type
 *
 * The first byte of the input chooses the mode.  Then four bytes a change: which of the pages that an undisturbed
 * walk reads (two bytes), where in it in steps of two, the new value.  Every second change is of an odd place. Built
 * and run by tests/long/fuzz-scope.sh.
 */
#include "providers/clone/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_BYTES = 512, CHANGE_BYTES = 4, CHANGES_MAX = 64, GRANULE_SHIFT = 12 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes);

static struct {
  const uint8_t *bytes;
  uint64_t size_bytes;
  const char *filesystem;
  struct bitmap read, wanted;
  uint64_t *pages, pages_count;
  uint64_t at[CHANGES_MAX];
  uint8_t value[CHANGES_MAX];
  unsigned changes;
  bool noting;
} image;

static int read_image(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
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

static int walk(enum scope_mode mode) {
  struct scope_source source = {.read = read_image, .size_bytes = image.size_bytes};
  char root[] = "/", *paths[] = {root, NULL};
  struct umbra_error err = {0};
  int r = scope_walk(&source, image.filesystem, paths, mode, GRANULE_SHIFT, &image.wanted, &err);
  if (r < 0 && err.message[0] == 0)
    abort();
  return r;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  const char *path = getenv("UMBRA_FUZZ_IMAGE");
  image.filesystem = getenv("UMBRA_FUZZ_FILESYSTEM");
  int fd = path && image.filesystem ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  void *bytes = size <= 0 ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED || bitmap_init(&image.read, (uint64_t)size / PAGE_BYTES + 1) < 0 ||
      bitmap_init(&image.wanted, ((uint64_t)size >> GRANULE_SHIFT) + 1) < 0) {
    fprintf(stderr, "fuzz-scope: no image in UMBRA_FUZZ_IMAGE, or no UMBRA_FUZZ_FILESYSTEM\n");
    exit(2);
  }
  image.bytes = bytes;
  image.size_bytes = (uint64_t)size;
  image.noting = true;
  if (walk(SCOPE_EXACT) < 0) {
    fprintf(stderr, "fuzz-scope: the image is damaged already\n");
    exit(2);
  }
  image.noting = false;
  image.pages = calloc(bitmap_count(&image.read), sizeof *image.pages);
  for (uint64_t i = 0; image.pages && i < image.read.bits; i++)
    if (bitmap_test(&image.read, i))
      image.pages[image.pages_count++] = i;
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes) {
  if (length_bytes < 1 || !image.pages)
    return 0;
  enum scope_mode mode = data[0] % 2 ? SCOPE_EXACT : SCOPE_LIVE;
  data++, length_bytes--;
  image.changes = 0;
  for (; length_bytes >= CHANGE_BYTES && image.changes < CHANGES_MAX;
       data += CHANGE_BYTES, length_bytes -= CHANGE_BYTES) {
    uint64_t page = image.pages[(unsigned)(data[0] << 8 | data[1]) % image.pages_count];
    image.at[image.changes] = page * PAGE_BYTES + (uint64_t)data[2] * 2 + image.changes % 2;
    image.value[image.changes++] = data[3];
  }
  (void)walk(mode);
  return 0;
}
