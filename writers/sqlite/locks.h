/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks and leases on files, from /proc/locks (proc(5)). No file is opened to know them. */
#ifndef WRITERS_SQLITE_LOCKS_H
#define WRITERS_SQLITE_LOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

enum { LOCKS_MAX = 1000 * 1000 };

struct lock {
  pid_t pid; /* 0 or less: not a process that we can see */
  bool lease, exclusive;
  unsigned major, minor; /* of the superblock's device: on btrfs not what stat() says */
  unsigned long long inode;
};

/* All there are at the moment; the caller's, free(). 0 or negative errno (-E2BIG past LOCKS_MAX). */
int locks_read(struct lock **ret, size_t *ret_count);

/* Somebody has a lease on the file, which opening it would break. */
bool locks_have_lease(const struct lock *locks, size_t count, const struct statx *file);

/* The process that has the file locked, one with an exclusive lock first; 0: none is known. */
pid_t locks_holder(const struct lock *locks, size_t count, const struct statx *file);

#endif
