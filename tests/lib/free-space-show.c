/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * free-space-show IMAGE            prints "OFFSET LENGTH" in bytes of each free range, neighbours joined
 * free-space-show --kernel MOUNT   the same by FS_IOC_GETFSMAP, which may be asked while the filesystem is frozen
 *
 * 1 with a message where it is not known.
 */
#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/free-space/free-space.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fsmap.h>

enum { RECORDS_MAX = 1024 };

static int read_image(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  return fd_pread_all(*(int *)context, buffer, length_bytes, offset_bytes);
}

static struct { uint64_t offset, length; } last;

static void print_last(void) {
  if (last.length > 0)
    printf("%" PRIu64 " %" PRIu64 "\n", last.offset, last.length);
}

static int take(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
  (void)context;
  if (last.length > 0 && last.offset + last.length == offset_bytes) {
    last.length += length_bytes;
    return 0;
  }
  print_last();
  last.offset = offset_bytes;
  last.length = length_bytes;
  return 0;
}

static int show_image(const char *path) {
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
  off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  if (size < 0) {
    perror(path);
    return 1;
  }
  struct free_space_source source = {.read = read_image, .context = &fd, .volume_bytes = (uint64_t)size};
  struct umbra_error err = {0};
  if (free_space_visit(&source, take, NULL, &err) < 0) {
    fprintf(stderr, "free-space-show: %s\n", err.message);
    return 1;
  }
  print_last();
  return 0;
}

/* XFS without a reverse map says free; one with, too. ext4 counts what it has set aside in memory as used. */
static int show_kernel(const char *mount) {
  CLEANUP_CLOSE int fd = open(mount, O_RDONLY | O_CLOEXEC);
  CLEANUP_FREE struct fsmap_head *head = calloc(1, fsmap_sizeof(RECORDS_MAX));
  if (fd < 0 || !head)
    return 1;
  head->fmh_count = RECORDS_MAX;
  head->fmh_keys[1] = (struct fsmap){.fmr_device = UINT32_MAX,
                                     .fmr_flags = UINT32_MAX,
                                     .fmr_physical = UINT64_MAX,
                                     .fmr_owner = UINT64_MAX,
                                     .fmr_offset = UINT64_MAX};
  for (bool more = true; more;) {
    if (ioctl(fd, FS_IOC_GETFSMAP, head) < 0) {
      perror("FS_IOC_GETFSMAP");
      return 1;
    }
    for (uint32_t i = 0; i < head->fmh_entries; i++) {
      const struct fsmap *record = &head->fmh_recs[i];
      if ((record->fmr_flags & FMR_OF_SPECIAL_OWNER) && record->fmr_owner == FMR_OWN_FREE)
        (void)take(NULL, record->fmr_physical, record->fmr_length);
    }
    more = head->fmh_entries > 0 && !(head->fmh_recs[head->fmh_entries - 1].fmr_flags & FMR_OF_LAST);
    if (more)
      fsmap_advance(head);
  }
  print_last();
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--kernel") == 0)
    return show_kernel(argv[2]);
  if (argc == 2)
    return show_image(argv[1]);
  fprintf(stderr, "usage: free-space-show IMAGE | --kernel MOUNT\n");
  return 2;
}
