/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The paths that the operations of a hold remove from the copy, sorted: is something among them, or below one of
 * them? */
#ifndef PROVIDERS_FILES_REMOVED_H
#define PROVIDERS_FILES_REMOVED_H

#include "providers/files/held.h"

struct removed {
  const struct held_op **ops; /* in walk order */
  size_t count;
};

int removed_init(struct removed *r, const struct held *h);
void removed_done(struct removed *r);

/* Is the path, or a directory above it, removed? */
bool removed_has(const struct removed *r, const char *path, size_t path_bytes);

/*
 * Makes the table forget what it says of them: the copy of what was there is gone, and what has come in its place
 * since is another. Were such records believed, what is renamed away before one hold and back before the next would
 * be missed.
 */
int removed_forget(const struct removed *r, int table_fd, uint8_t *block_buffer);

#endif
