/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a block device lies on its disk, from sysfs: the tracepoints speak of whole disks.
 * Source: Documentation/ABI/stable/sysfs-block.
 */
#include "common/cleanup.h"
#include "common/fd.h"
#include "track/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { ATTRIBUTE_BYTES_MAX = 4096 };

static int open_device_directory(dev_t device) {
  char path[64];
  (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(device), minor(device));
  return fd_open_directory(path);
}

/* Up to two unsigned numbers with anything between them ("253:1", "   3    0"). Returns how many, or negative. */
static int read_numbers(int dir_fd, const char *name, uint64_t numbers[2]) {
  CLEANUP_FREE char *text = NULL;
  int r = fd_read_file(dir_fd, name, ATTRIBUTE_BYTES_MAX, &text, NULL);
  if (r < 0)
    return r;
  int count = 0;
  for (char *at = text; count < 2; count++) {
    at += strcspn(at, "0123456789");
    if (*at == 0)
      break;
    numbers[count] = strtoull(at, &at, 10);
  }
  return count;
}

static int read_number(int dir_fd, const char *name, uint64_t *ret) {
  uint64_t numbers[2];
  int r = read_numbers(dir_fd, name, numbers);
  if (r < 0)
    return r;
  if (r < 1)
    return -EBADMSG;
  *ret = numbers[0];
  return 0;
}

int track_place_find(dev_t device, struct track_place *ret, struct umbra_error *err) {
  struct track_place place = {0};
  CLEANUP_CLOSE int fd = open_device_directory(device);
  if (fd < 0)
    return error_code(err, fd, "finding block device %u:%u in /sys", major(device), minor(device));
  uint64_t numbers[2];
  int r = read_number(fd, "size", &place.sectors);
  CLEANUP_CLOSE int disk_fd = -1;
  if (r >= 0 && faccessat(fd, "partition", F_OK, 0) == 0) {
    r = read_number(fd, "start", &place.start_sector);
    disk_fd = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } else
    disk_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (r >= 0 && disk_fd < 0)
    r = -errno;
  if (r >= 0)
    r = read_numbers(disk_fd, "dev", numbers);
  if (r >= 0 && r < 2)
    r = -EBADMSG;
  if (r < 0)
    return error_code(err, r, "reading where block device %u:%u lies from /sys", major(device), minor(device));
  place.disk_major = (unsigned)numbers[0];
  place.disk_first_minor = (unsigned)numbers[1];
  /* Only devices that the kernel's request layer serves have this folder. */
  place.bio_based = faccessat(disk_fd, "mq", F_OK, 0) < 0;
  CLEANUP_FREE char *zoned = NULL;
  place.zoned =
      fd_read_file(disk_fd, "queue/zoned", ATTRIBUTE_BYTES_MAX, &zoned, NULL) >= 0 && strncmp(zoned, "none", 4) != 0;
  *ret = place;
  return 0;
}

uint64_t track_place_in_flight(dev_t device) {
  CLEANUP_CLOSE int fd = open_device_directory(device);
  uint64_t numbers[2] = {0, 0};
  if (fd >= 0)
    (void)read_numbers(fd, "inflight", numbers);
  return numbers[0] + numbers[1];
}
