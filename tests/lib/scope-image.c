/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scope-image [--live] SOURCE DESTINATION FSTYPE GRANULE_SHIFT PATH...
 *
 * Makes a sparse DESTINATION as large as SOURCE (image or device) that holds only the granules that scope_walk()
 * wants for the paths. Prints how many bytes were wanted. Exit status 1 with the message if the walk fails.
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

static int read_source(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  return fd_pread_all(*(const int *)context, buffer, length_bytes, offset_bytes);
}

/* Copies the wanted granules. 0 or negative errno. */
static int copy(int from, int to, uint64_t size_bytes, unsigned granule_shift, const struct bitmap *wanted) {
  enum { PIECE_BYTES = 1 << 20 };
  CLEANUP_FREE uint8_t *buffer = malloc(PIECE_BYTES);
  if (!buffer)
    return -ENOMEM;
  uint64_t first = 0, count = 0, next = 0;
  while (bitmap_next_run(wanted, next, UINT64_MAX, &first, &count)) {
    uint64_t end = (first + count) << granule_shift;
    if (end > size_bytes)
      end = size_bytes;
    for (uint64_t offset = first << granule_shift; offset < end;) {
      size_t part = end - offset < PIECE_BYTES ? (size_t)(end - offset) : (size_t)PIECE_BYTES;
      int r = fd_pread_all(from, buffer, part, offset);
      if (r == 0)
        r = fd_pwrite_all(to, buffer, part, offset);
      if (r < 0)
        return r;
      offset += part;
    }
    next = first + count;
  }
  return 0;
}

int main(int argc, char **argv) {
  enum scope_mode mode = SCOPE_EXACT;
  if (argc > 1 && strcmp(argv[1], "--live") == 0) {
    mode = SCOPE_LIVE;
    argc--, argv++;
  }
  if (argc < 5) {
    fprintf(stderr, "usage: scope-image [--live] SOURCE DESTINATION FSTYPE GRANULE_SHIFT PATH...\n");
    return 2;
  }
  CLEANUP_CLOSE int from = open(argv[1], O_RDONLY | O_CLOEXEC);
  CLEANUP_CLOSE int to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  off_t size = from < 0 ? -1 : lseek(from, 0, SEEK_END);
  unsigned granule_shift = (unsigned)atoi(argv[4]);
  if (size < 0 || to < 0 || ftruncate(to, size) < 0) {
    perror("scope-image");
    return 1;
  }
  struct bitmap wanted;
  if (bitmap_init(&wanted, ((uint64_t)size + (UINT64_C(1) << granule_shift) - 1) >> granule_shift) < 0)
    return 1;
  struct scope_source source = {.read = read_source, .context = &from, .size_bytes = (uint64_t)size};
  struct umbra_error err = {0};
  int r = scope_walk(&source, argv[3], argv + 5, mode, granule_shift, &wanted, &err);
  if (r < 0)
    fprintf(stderr, "scope-image: %s\n", err.message);
  else if ((r = copy(from, to, (uint64_t)size, granule_shift, &wanted)) < 0)
    fprintf(stderr, "scope-image: copying: %s\n", strerror(-r));
  else
    printf("%" PRIu64 "\n", bitmap_count(&wanted) << granule_shift);
  bitmap_done(&wanted);
  return r < 0;
}
