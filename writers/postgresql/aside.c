/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Renames within one directory's filesystem. See aside.h. */
#include "writers/postgresql/aside.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Those of earlier restores stay where they are, and what the filesystem keeps for itself. */
static bool concerned(const char *name, bool only_tablespace) {
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0)
    return false;
  return only_tablespace ? strncmp(name, "PG_", 3) == 0 : strncmp(name, ASIDE_PREFIX, strlen(ASIDE_PREFIX)) != 0;
}

static DIR *open_list(int directory_fd, const char *name) {
  int fd = openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *list = fd < 0 ? NULL : fdopendir(fd);
  if (!list && fd >= 0)
    (void)close(fd);
  return list;
}

/* Renaming while the directory is read may show an entry twice or not at all: until a pass finds nothing more. */
static int move_all(int from_fd, int to_fd, bool only_tablespace) {
  for (bool moved = true; moved;) {
    CLEANUP_CLOSEDIR DIR *list = open_list(from_fd, ".");
    if (!list)
      return -errno;
    moved = false;
    for (struct dirent *e; (e = readdir(list));) {
      if (!concerned(e->d_name, only_tablespace))
        continue;
      if (renameat(from_fd, e->d_name, to_fd, e->d_name) < 0 && errno != ENOENT)
        return -errno;
      moved = true;
    }
  }
  return fsync(to_fd) < 0 || fsync(from_fd) < 0 ? -errno : 0;
}

static bool has_any(int directory_fd, bool only_tablespace) {
  CLEANUP_CLOSEDIR DIR *list = open_list(directory_fd, ".");
  bool any = false;
  for (struct dirent *e; list && !any && (e = readdir(list));)
    any = concerned(e->d_name, only_tablespace);
  return any;
}

int aside_move(const char *directory, const char *name, bool only_tablespace) {
  CLEANUP_CLOSE int from = fd_open_directory(directory);
  if (from < 0)
    return from;
  if (!has_any(from, only_tablespace))
    return 0;
  if (mkdirat(from, name, 0700) < 0)
    return -errno;
  CLEANUP_CLOSE int to = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int r = to < 0 ? -errno : move_all(from, to, only_tablespace);
  if (r < 0 && to >= 0)
    (void)move_all(to, from, only_tablespace);
  if (r < 0)
    (void)unlinkat(from, name, AT_REMOVEDIR);
  return r;
}

int aside_move_back(const char *directory, const char *name, bool only_tablespace) {
  CLEANUP_CLOSE int to = fd_open_directory(directory);
  if (to < 0)
    return to;
  CLEANUP_CLOSE int from = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (from < 0)
    return -errno;
  if (has_any(to, only_tablespace))
    return -ENOTEMPTY;
  int r = move_all(from, to, only_tablespace);
  return r < 0 ? r : unlinkat(to, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

bool aside_find(const char *directory, char *ret_name, unsigned room_bytes) {
  CLEANUP_CLOSEDIR DIR *list = opendir(directory);
  bool found = false;
  for (struct dirent *e; list && (e = readdir(list));)
    if (strncmp(e->d_name, ASIDE_PREFIX, strlen(ASIDE_PREFIX)) == 0 && strlen(e->d_name) < room_bytes &&
        (!found || strcmp(e->d_name, ret_name) > 0)) {
      (void)strcpy(ret_name, e->d_name);
      found = true;
    }
  return found;
}
