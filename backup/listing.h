/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names in one directory, sorted by their bytes.  Small directories are sorted in memory; what exceeds the
 * budget, which all listings of a walk share, is sorted in runs that go to a temporary file and are merged while they
 * are read.
 */
#ifndef BACKUP_LISTING_H
#define BACKUP_LISTING_H

#include "common/error.h"

#include <stddef.h>

/* Names in memory, of all listings of one walk together; and of runs that one merge reads at a time. */
enum { LISTING_BYTES_MAX = 8 * 1024 * 1024, LISTING_RUNS_MAX = 512 };

struct listing;

/* used_bytes: shared by the listings of a walk, begins at 0. spool_dir_fd: see spool_open_file(). */
int listing_read(int dir_fd, size_t *used_bytes, int spool_dir_fd, struct listing **ret, struct umbra_error *err);
/* 1: *ret is the next name, the listing's until the next call; 0: no more; negative. */
int listing_next(struct listing *l, const char **ret, struct umbra_error *err);
void listing_free(struct listing *l);

#endif
