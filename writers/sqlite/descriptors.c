/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/sqlite/descriptors.h"

#include "common/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* False: none that is of interest, or gone meanwhile. */
static bool describe(int directory, const char *name, struct descriptor *d) {
  struct stat link;
  if (fstatat(directory, name, &link, AT_SYMLINK_NOFOLLOW) < 0)
    return false;
  /* A dead server must not keep us: its answer would not change what the file is. */
  if (statx(directory, name, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &d->status) < 0 || !S_ISREG(d->status.stx_mode))
    return false;
  d->read = link.st_mode & S_IRUSR;
  d->write = link.st_mode & S_IWUSR;
  ssize_t length = readlinkat(directory, name, d->path, sizeof d->path - 1);
  if (length < 0)
    return false;
  d->path[length] = '\0';
  return d->path[0] == '/';
}

static int walk_process(int proc, const char *pid, descriptor_seen seen, void *context, size_t *count) {
  char path[64];
  (void)snprintf(path, sizeof path, "%.32s/fd", pid);
  int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSEDIR DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
  if (!dir)
    return 0;
  struct descriptor d = {.pid = (pid_t)strtol(pid, NULL, 10)};
  for (const struct dirent *e; (e = readdir(dir));) {
    if (!isdigit((unsigned char)e->d_name[0]))
      continue;
    if (++*count > DESCRIPTORS_MAX)
      return -E2BIG;
    int r = describe(dirfd(dir), e->d_name, &d) ? seen(&d, context) : 0;
    if (r != 0)
      return r;
  }
  return 0;
}

int descriptors_walk(descriptor_seen seen, void *context) {
  CLEANUP_CLOSEDIR DIR *proc = opendir("/proc");
  if (!proc)
    return -errno;
  size_t count = 0;
  for (const struct dirent *e; (e = readdir(proc));) {
    int r = isdigit((unsigned char)e->d_name[0]) ? walk_process(dirfd(proc), e->d_name, seen, context, &count) : 0;
    if (r != 0)
      return r;
  }
  return 0;
}
