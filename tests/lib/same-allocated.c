/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compares two images of a volume where the volume has something.
 *
 *     same-allocated MOUNTPOINT IMAGE-A IMAGE-B
 *
 * MOUNTPOINT shows (a loop device over) image A: its filesystem says what is allocated. Prints "same N of M bytes";
 * status 1 and the first offset if they differ.
 */
#include "common/bitmap.h"
#include "common/fd.h"
#include "volume/extents.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { GRANULE_SHIFT = 9 }; /* as fine as a filesystem can be: what shares a granule with it may be free */

int main(int argc, char **argv) {
  struct umbra_error err = {0};
  struct bitmap allocated;
  struct stat st_a, st_mount;
  if (argc != 4)
    return 2;
  int mount_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int a = open(argv[2], O_RDONLY | O_CLOEXEC), b = open(argv[3], O_RDONLY | O_CLOEXEC);
  if (mount_fd < 0 || a < 0 || b < 0 || fstat(a, &st_a) < 0 || fstat(mount_fd, &st_mount) < 0)
    return 2;
  if (bitmap_init(&allocated, ((uint64_t)st_a.st_size + 511) >> GRANULE_SHIFT) < 0 ||
      extents_allocated(mount_fd, st_mount.st_dev, GRANULE_SHIFT, &allocated, &err) < 0) {
    (void)fprintf(stderr, "same-allocated: %s\n", err.message);
    return 2;
  }
  uint64_t at = 0, first, count;
  for (; bitmap_next_run(&allocated, at, 1, &first, &count); at = first + 1) {
    unsigned char one[1 << GRANULE_SHIFT] = {0}, other[1 << GRANULE_SHIFT] = {0};
    uint64_t offset = first << GRANULE_SHIFT, length = (uint64_t)st_a.st_size - offset;
    if (length > sizeof one)
      length = sizeof one;
    if (fd_pread_all(a, one, length, offset) < 0 || fd_pread_all(b, other, length, offset) < 0 ||
        memcmp(one, other, length) != 0) {
      (void)fprintf(stderr, "same-allocated: differ at offset %" PRIu64 "\n", offset);
      return 1;
    }
  }
  (void)printf("same %" PRIu64 " of %" PRIu64 " bytes\n", bitmap_count(&allocated) << GRANULE_SHIFT,
               (uint64_t)st_a.st_size);
  bitmap_done(&allocated);
  return 0;
}
