/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A round: walks the live tree once, makes the copy equal to it, and writes the table of what was copied.  What the
 * old table says is unchanged is not read again.  Blocks; polls for cancelling.
 */
#ifndef PROVIDERS_FILES_WALK_H
#define PROVIDERS_FILES_WALK_H

#include "providers/files/attributes.h"
#include "providers/files/copy.h"
#include "providers/files/lease.h"
#include "providers/files/links.h"
#include "providers/files/scope.h"
#include "providers/files/table.h"

#include <sys/types.h>

enum {
  WALK_DEPTH_MAX = 4000, /* directories in each other */
  WALK_LIST_BYTES = 128 * 1024,
};

struct walk {
  /* Configuration. */
  int live_fd, copy_fd; /* roots of the two trees */
  dev_t device;         /* of the volume's superblock */
  const struct scope *scope;
  uint64_t storage_device, storage_inode; /* the directory that holds the stores: they are no part of the volume */
  int64_t settle_ns;                      /* DESIGN.md, invariant 3 */
  bool strange_clock;                     /* times are set by another machine's clock */

  /* Tools, shared with what follows the rounds. */
  struct lease_watch leases;
  struct copier copier;
  struct attributes_room room;
  struct links links;
  char *list_buffer;     /* WALK_LIST_BYTES */
  uint8_t *block_buffer; /* TABLE_BLOCK_BYTES_MAX */

  /* State of the round under way. */
  int64_t sync_ns; /* begin of the sync that the round relies on */
  struct table_reader old;
  struct table_writer new;
  char *path; /* of the directory under way; TABLE_PATH_BYTES_MAX + 1 */
  size_t path_bytes;
  unsigned depth;
  uint64_t kept_bytes; /* stored_bytes of what is done */

  /* Results of the round. */
  uint64_t changed_files, changed_bytes, unsure_bytes;
  struct table_totals totals;
  uint64_t *starts; /* of the new table (table.h) */
  size_t starts_count;
};

int walk_init(struct walk *w);
void walk_done(struct walk *w);

/* One round. old_fd: the table of the last one, -1 for none; new_fd: an empty file. */
int walk_round(struct walk *w, int old_fd, int new_fd, struct umbra_error *err);

/* Is this entry of this directory one of our own stores, or an image of another provider's? [held] */
bool walk_is_store(const struct walk *w, const struct statx *directory, const char *name);

/* Could a change have gone unseen in a file or directory that was looked at in this round? (invariant 3) [held] */
bool walk_is_unsure(const struct walk *w, int64_t ctime_ns);

/* Is the entry as the record says? [held] */
bool walk_is_same(const struct table_entry_head *record, const struct statx *sx);

#endif
