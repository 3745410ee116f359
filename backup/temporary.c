/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See temporary.h. */
#include "backup/temporary.h"

#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#define PREFIX ".umbra-restore-"
enum { TRIES_MAX = 16, RANDOM_DIGITS = 16 };

_Static_assert(sizeof PREFIX + RANDOM_DIGITS <= TEMPORARY_NAME_BYTES, "the name fits");

bool temporary_name_valid(const char *name) {
  size_t prefix_bytes = strlen(PREFIX);
  return strncmp(name, PREFIX, prefix_bytes) == 0 && strlen(name) == prefix_bytes + RANDOM_DIGITS &&
         strspn(name + prefix_bytes, "0123456789abcdef") == RANDOM_DIGITS;
}

/* A regular file that is still there under this name, and no other. */
static bool still_named(int dir_fd, const char *name, int fd) {
  struct stat by_name, by_fd;
  return fstatat(dir_fd, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 &&
         S_ISREG(by_fd.st_mode) && by_fd.st_nlink == 1 && by_name.st_ino == by_fd.st_ino &&
         by_name.st_dev == by_fd.st_dev;
}

int temporary_make(int dir_fd, char ret_name[TEMPORARY_NAME_BYTES]) {
  for (int i = 0; i < TRIES_MAX; i++) {
    uint64_t random = 0;
    (void)getrandom(&random, sizeof random, 0);
    (void)snprintf(ret_name, TEMPORARY_NAME_BYTES, PREFIX "%016" PRIx64, random);
    CLEANUP_CLOSE int fd = openat(dir_fd, ret_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
      continue;
    if (fd < 0)
      return -errno;
    /* Another restore may have met it before it was locked and taken it for left: then once more. */
    bool taken = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    if (!taken && still_named(dir_fd, ret_name, fd))
      return take_fd(&fd);
  }
  return -EEXIST;
}

static void remove_one(int dir_fd, const char *name) {
  int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  /* For writing, since NFS locks no other; it may have the mode of the file that it was to be already. */
  CLEANUP_CLOSE int fd = openat(dir_fd, name, O_RDWR | flags);
  if (fd < 0 && errno == EACCES)
    fd = openat(dir_fd, name, O_RDONLY | flags);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && still_named(dir_fd, name, fd))
    (void)unlinkat(dir_fd, name, 0);
}

void temporary_remove_left(int dir_fd) {
  CLEANUP_CLOSE int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir)
    return;
  (void)take_fd(&fd);
  struct dirent *entry;
  while ((entry = readdir(dir)))
    if (temporary_name_valid(entry->d_name) && (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN))
      remove_one(dir_fd, entry->d_name);
}
