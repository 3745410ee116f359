/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that processes have open, from /proc. As root: those of all processes. proc(5). */
#ifndef WRITERS_SQLITE_DESCRIPTORS_H
#define WRITERS_SQLITE_DESCRIPTORS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

enum { DESCRIPTORS_MAX = 4 * 1000 * 1000 };

/* A regular file that a process has open. Nothing of it was opened or waited for to know this. */
struct descriptor {
  pid_t pid;
  struct statx status; /* as the kernel knows it without asking a server */
  bool read, write;    /* how it is open */
  char path[PATH_MAX]; /* in the process's mount namespace; " (deleted)" at the end of one that is gone */
};

/* Other than 0 ends the walk and is its result. */
typedef int (*descriptor_seen)(const struct descriptor *d, void *context);

/* Calls seen for each. Processes that end meanwhile are passed over. 0, -E2BIG past DESCRIPTORS_MAX, or what seen
 * said. */
int descriptors_walk(descriptor_seen seen, void *context);

#endif
