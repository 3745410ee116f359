/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file is besides its data: owner, mode, times, extended attributes (ACLs and file capabilities are such).
 * Read as one block of bytes, so that it can be kept while the volume is held.  [held]: allocates nothing.
 */
#ifndef PROVIDERS_FILES_ATTRIBUTES_H
#define PROVIDERS_FILES_ATTRIBUTES_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
  ATTRIBUTES_LIST_BYTES = 64 * 1024 + 1,  /* the kernel's own limit for a list of names (XATTR_LIST_MAX) */
  ATTRIBUTES_VALUE_BYTES_MAX = 64 * 1024, /* and for a value (XATTR_SIZE_MAX) */
  ATTRIBUTES_BYTES_MAX = 1024 * 1024,     /* all of one file together */
};

/* Room to work in; one for each thread. */
struct attributes_room {
  char *list;  /* ATTRIBUTES_LIST_BYTES */
  char *value; /* ATTRIBUTES_VALUE_BYTES_MAX */
  char *block; /* ATTRIBUTES_BYTES_MAX */
};
int attributes_room_init(struct attributes_room *room);
void attributes_room_done(struct attributes_room *room);

/*
 * Reads all extended attributes of name in a directory (name "": the directory itself) into room->block. Returns
 * their length in bytes, 0 for none. -E2BIG past ATTRIBUTES_BYTES_MAX. [held]
 */
int attributes_read(struct attributes_room *room, int directory_fd, const char *name);

/*
 * Makes name in a directory of the copy be what sx and the extended attributes in block say: owner, mode, attributes
 * (those that it has and should not have go) and, last, times. block may be room->block.
 */
int attributes_apply(struct attributes_room *room, int directory_fd, const char *name, const struct statx *sx,
                     const char *block, size_t block_bytes, struct umbra_error *err);

/* Sets only the modification time back, after entries of a directory of the copy were changed. */
int attributes_set_mtime(int directory_fd, const char *name, struct statx_timestamp mtime);

#endif
