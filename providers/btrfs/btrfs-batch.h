/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of several subvolumes that show one instant.  The kernel makes each snapshot within a transaction and
 * commits that.  Two ways lead to one instant, and what came of it is read from the snapshots' transaction numbers
 * afterwards:
 *
 * - first the volume's own subvolume, then all nested ones: one instant if no nested one was changed since (the usual
 * case);
 * - all at the same time from threads that wait ready, each with a directory of its own to make its snapshot in
 * (making one locks the directory until the commit is over): one instant if they fell into one transaction.
 */
#ifndef PROVIDERS_BTRFS_BTRFS_BATCH_H
#define PROVIDERS_BTRFS_BTRFS_BATCH_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { BTRFS_BATCH_SUBVOLUMES_MAX = 10000, BTRFS_BATCH_THREADS_MAX = 255, BTRFS_BATCH_NAME_BYTES = 24 };

struct btrfs_batch;

/*
 * Makes the directories "0", "1"… in target_fd. paths: of the subvolumes below root_fd, "" for root_fd itself;
 * copied. The descriptors stay the caller's and must stay open. */
int btrfs_batch_new(int root_fd, int target_fd, char *const *paths, bool read_write, struct btrfs_batch **ret,
                    struct umbra_error *err);

/*
 * Makes them all: "0/tree", "1/tree"… in target_fd, the first one before the others or all together. Allocates
 * nothing. A nested subvolume that was deleted meanwhile is left out. Once for each batch.
 */
int btrfs_batch_run(struct btrfs_batch *batch, bool together, struct umbra_error *err);

/* Whether snapshot index was made. */
bool btrfs_batch_made(const struct btrfs_batch *batch, size_t index);

/* Whether all that were made show one instant: 1, 0 or negative. */
int btrfs_batch_one_instant(const struct btrfs_batch *batch, struct umbra_error *err);

/* Makes those that were made writable read-only. */
int btrfs_batch_seal(const struct btrfs_batch *batch, struct umbra_error *err);

void btrfs_batch_free(struct btrfs_batch *batch); /* NULL is fine. Ends the threads, leaves the snapshots. */

#endif
