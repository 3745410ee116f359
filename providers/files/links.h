/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files with several names: which name of each was met first in this walk, so that the others become links to its
 * copy.  Takes 32 bytes of memory for each such file; its path is read back from the table being written.
 */
#ifndef PROVIDERS_FILES_LINKS_H
#define PROVIDERS_FILES_LINKS_H

#include "providers/files/table.h"

struct link_slot {
  uint64_t inode, device;
  uint64_t block_offset_bytes; /* 0: free */
  uint32_t entry_offset;
  uint32_t unused;
};

struct links {
  struct link_slot *slots;
  size_t count, size; /* size: a power of two, or 0 */
};

void links_clear(struct links *l);
/* Remembers the entry that was last added to the table. 0 or -ENOMEM. An earlier one of the same file is replaced. */
int links_add(struct links *l, uint64_t device, uint64_t inode, const struct table_writer *w);
const struct link_slot *links_find(const struct links *l, uint64_t device, uint64_t inode); /* NULL if not met yet */

/*
 * The path of what a slot names: *ret_path_bytes long, without end, in buffer (TABLE_BLOCK_BYTES_MAX). 0, or negative
 * errno.
 */
int links_path(const struct link_slot *slot, struct table_writer *w, uint8_t *buffer, const char **ret_path,
               size_t *ret_path_bytes);

#endif
