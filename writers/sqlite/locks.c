/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/sqlite/locks.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

/* "1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF"; one that waits for another has "->" after the number. */
static bool parse(const char *line, struct lock *ret) {
  char kind[16], mode[16], type[16];
  int pid;
  if (sscanf(line, "%*u: %15s %15s %15s %d %x:%x:%llu", kind, mode, type, &pid, &ret->major, &ret->minor,
             &ret->inode) != 7)
    return false;
  ret->pid = pid;
  ret->lease = strcmp(kind, "LEASE") == 0;
  ret->exclusive = strcmp(type, "WRITE") == 0;
  return true;
}

int locks_read(struct lock **ret, size_t *ret_count) {
  CLEANUP_FCLOSE FILE *file = fopen("/proc/locks", "re");
  if (!file)
    return -errno;
  CLEANUP_FREE struct lock *list = NULL;
  size_t count = 0, room = 0;
  char line[256];
  while (fgets(line, sizeof line, file)) {
    struct lock one;
    if (!parse(line, &one))
      continue;
    if (count == LOCKS_MAX)
      return -E2BIG;
    if (count == room) {
      room = room ? room * 2 : 64;
      struct lock *larger = reallocarray(list, room, sizeof *list);
      if (!larger)
        return -ENOMEM;
      list = larger;
    }
    list[count++] = one;
  }
  *ret = take_pointer(list);
  *ret_count = count;
  return 0;
}

static bool same_file(const struct lock *lock, const struct statx *file) {
  return lock->inode == file->stx_ino && lock->major == file->stx_dev_major && lock->minor == file->stx_dev_minor;
}

bool locks_have_lease(const struct lock *locks, size_t count, const struct statx *file) {
  for (size_t i = 0; i < count; i++)
    if (locks[i].lease && same_file(&locks[i], file))
      return true;
  return false;
}

pid_t locks_holder(const struct lock *locks, size_t count, const struct statx *file) {
  pid_t holder = 0;
  for (size_t i = 0; i < count; i++)
    if (!locks[i].lease && locks[i].pid > 0 && same_file(&locks[i], file) && (holder == 0 || locks[i].exclusive))
      holder = locks[i].pid;
  return holder;
}
