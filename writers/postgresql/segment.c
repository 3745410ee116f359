/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names as in access/xlog_internal.h: timeline, then the number in units of 4 GiB and the rest. See segment.h. */
#include "writers/postgresql/segment.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

enum { COPY_BYTES = 1024 * 1024 };

int segment_parse_lsn(const char *text, uint64_t *ret) {
  uint32_t high, low;
  int end = 0;
  if (sscanf(text, "%" SCNx32 "/%" SCNx32 "%n", &high, &low, &end) != 2 || text[end] != '\0')
    return -EINVAL;
  *ret = (uint64_t)high << 32 | low;
  return 0;
}

struct segments segments_between(uint32_t timeline, uint64_t size_bytes, uint64_t begin, uint64_t end) {
  return (struct segments){timeline, size_bytes, begin / size_bytes, (end - 1) / size_bytes};
}

const char *segment_name(const struct segments *of, uint64_t number, char ret[SEGMENT_NAME_BYTES]) {
  uint64_t per_id = (UINT64_C(1) << 32) / of->size_bytes;
  (void)snprintf(ret, SEGMENT_NAME_BYTES, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, of->timeline,
                 (uint32_t)(number / per_id), (uint32_t)(number % per_id));
  return ret;
}

/* Within one filesystem blocks may be shared (btrfs). 1: it cannot be done like that, and nothing has been. */
static int copy_in_kernel(int from, int to, uint64_t size_bytes) {
  for (uint64_t done = 0; done < size_bytes;) {
    ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)(size_bytes - done), 0);
    if (n < 0 && done == 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS))
      return 1;
    if (n <= 0)
      return n < 0 ? -errno : -ENODATA;
    done += (uint64_t)n;
  }
  return 0;
}

static int copy_by_hand(int from, int to, uint64_t size_bytes, void *buffer) {
  int r = 0;
  for (uint64_t done = 0; done < size_bytes && r >= 0; done += COPY_BYTES) {
    size_t n = size_bytes - done < COPY_BYTES ? (size_t)(size_bytes - done) : COPY_BYTES;
    r = fd_read_all(from, buffer, n);
    if (r >= 0)
      r = fd_write_all(to, buffer, n);
  }
  return r;
}

static int copy_one(const char *name, uint64_t size_bytes, int from_directory_fd, int to_directory_fd, void *buffer) {
  static const int create = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
  CLEANUP_CLOSE int from = openat(from_directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  CLEANUP_CLOSE int to = from < 0 ? -1 : openat(to_directory_fd, name, create, 0600);
  if (to < 0)
    return -errno;
  int r = copy_in_kernel(from, to, size_bytes);
  if (r > 0)
    r = copy_by_hand(from, to, size_bytes, buffer);
  return r < 0 ? r : fsync(to) < 0 ? -errno : 0;
}

int segments_copy(const struct segments *of, int from_directory_fd, int to_directory_fd, uint64_t *ret_number) {
  CLEANUP_FREE void *buffer = malloc(COPY_BYTES);
  int r = buffer ? 0 : -ENOMEM;
  for (uint64_t i = of->first; i <= of->last && r >= 0; i++) {
    char name[SEGMENT_NAME_BYTES];
    *ret_number = i;
    r = copy_one(segment_name(of, i, name), of->size_bytes, from_directory_fd, to_directory_fd, buffer);
  }
  return r < 0 ? r : fsync(to_directory_fd) < 0 ? -errno : 0;
}
