/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See file-flags.h. */
#include "backup/file-flags.h"

#include "common/cleanup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* The kernel reads and writes an int, whatever the request's number says. */
static int get(int fd, uint32_t *ret) {
  int flags = 0;
  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
    return -1;
  *ret = (uint32_t)flags;
  return 0;
}

static int put(int fd, uint32_t flags) {
  int value = (int)flags;
  return ioctl(fd, FS_IOC_SETFLAGS, &value);
}

uint32_t file_flags_read(int fd, int dir_fd, const char *name) {
  uint32_t flags = 0;
  CLEANUP_CLOSE int directory =
      fd < 0 ? openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
  return get(fd < 0 ? directory : fd, &flags) < 0 ? 0 : flags & FILE_FLAGS_KEPT;
}

unsigned file_flags_set(int fd, uint32_t mask, uint32_t flags) {
  uint32_t now = 0, wanted;
  unsigned missing = 0;
  bool known = get(fd, &now) == 0;
  wanted = (now & ~mask) | (flags & mask);
  if (known && (wanted == now || put(fd, wanted) == 0))
    return 0;
  /* A filesystem refuses all of them for one that it does not have. */
  for (uint32_t bit = 1; bit <= FS_NOCOW_FL; bit <<= 1) {
    if (!(mask & bit) || (now & bit) == (flags & bit))
      continue;
    if (known && put(fd, (now & ~bit) | (flags & bit)) == 0)
      now = (now & ~bit) | (flags & bit);
    else
      missing += (flags & bit) != 0;
  }
  return missing;
}

void file_flags_unlock(int dir_fd, const char *name) {
  struct stat st;
  /* Of nothing else: a device would be opened, and may take the request for one of its own. */
  if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
    return;
  CLEANUP_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd >= 0 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
    (void)file_flags_set(fd, FILE_FLAGS_LOCKING, 0);
}
