/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Trees and their directories: the live one and the copy.  Files are named by a path relative to the root of their
 * tree, which may be longer than PATH_MAX; no symlink and no mount is ever followed.  What is marked [held] allocates
 * nothing.
 */
#ifndef PROVIDERS_FILES_TREE_H
#define PROVIDERS_FILES_TREE_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * The volume as a mount of its own: read-only, no access times, and without what is mounted on it, so that what lies
 * under other mounts is seen and no walk can leave the volume.  Where that is not allowed (no CAP_SYS_ADMIN) a plain
 * descriptor: mount points in it then show as empty directories.  Returns a descriptor or negative errno.
 */
int tree_open_live(int volume_fd);

/* Opens a directory [held]. flags: O_PATH or O_RDONLY; O_DIRECTORY and the rest are added. Descriptor or negative
 * errno. */
int tree_open_directory(int root_fd, const char *path, size_t length, uint64_t flags);

/* Opens the directory that holds path and points *ret_name at the last component [held]. */
int tree_open_parent(int root_fd, const char *path, size_t length, const char **ret_name);

/* statx of a name in a directory, "" for the directory itself; never follows, never mounts [held]. 0 or negative
 * errno. */
int tree_stat(int directory_fd, const char *name, struct statx *ret);

static inline int64_t tree_time_ns(struct statx_timestamp t) {
  return (int64_t)t.tv_sec * INT64_C(1000000000) + (int64_t)t.tv_nsec;
}
static inline uint64_t tree_device(const struct statx *sx) {
  return (uint64_t)sx->stx_dev_major << 32 | sx->stx_dev_minor;
}

/* A name in a directory, as "/proc/self/fd/N/NAME", for the calls that take only a path. name "": the directory.
 * [held] */
enum { TREE_PROC_PATH_BYTES = 32 + 256 };
const char *tree_proc_path(int directory_fd, const char *name, char buffer[TREE_PROC_PATH_BYTES]);

/* Calls found for each entry but "." and ".." [held]; stops at a negative result. buffer: at least 32 KiB. */
typedef int (*tree_found)(void *context, const char *name, uint8_t type);
int tree_list(int directory_fd, char *buffer, size_t buffer_bytes, tree_found found, void *context);

#endif
