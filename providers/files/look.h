/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The look: compares every record of a table with the live tree, as fast as the machine can, on several threads. Made
 * before the hold, run under it: look_run() allocates nothing and only reads.
 */
#ifndef PROVIDERS_FILES_LOOK_H
#define PROVIDERS_FILES_LOOK_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  LOOK_THREADS_MAX = 4,
  LOOK_FOUND_MAX = 65536, /* changed records a thread can note */
};

/* A record that the live tree no longer agrees with, or that is unsure. */
struct look_found {
  uint64_t block_offset_bytes;
  uint32_t entry_offset; /* in the block; 0: the directory itself */
  uint32_t unused;
};

struct look;

/* starts: where the threads begin to read (table.h), the caller's; both stay open and unchanged until look_free(). */
int look_new(int live_fd, int table_fd, const uint64_t *starts, size_t starts_count, struct look **ret);
void look_free(struct look *l); /* NULL is fine; ends the threads */

/*
 * Looks at everything. 0; -EAGAIN if more has changed than LOOK_FOUND_MAX; other negative errno when the table cannot
 * be read. Afterwards look_found() gives the changed records, in the order of the table.
 */
int look_run(struct look *l);
size_t look_count(const struct look *l);
const struct look_found *look_found(const struct look *l, size_t index);

#endif
