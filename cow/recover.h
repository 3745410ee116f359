/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From persistent storage, as a detach or a crash left it, to an arena (DESIGN.md, E13 to E17).
 */
#ifndef COW_RECOVER_H
#define COW_RECOVER_H

#include "common/bitmap.h"
#include "common/error.h"
#include "cow/arena.h"
#include "cow/ondisk.h"

#include <stdbool.h>
#include <stdint.h>

struct cow_recovery {
  struct cow_disk_super super;
  uint32_t slots; /* that the storage has by now */
  /* Of the table: */
  unsigned live, dropped, damaged_records;
  char why_dropped[91]; /* all that were live, now: what for. Empty: none was */
  /* Of the cells that are not empty: */
  uint64_t needed, unneeded, damaged_cells;
  uint64_t checked;    /* not known to be durable: their data was looked at */
  uint64_t unfinished; /* of these: it is not the data. A copy that the crash cut off; nothing was overwritten yet */
  uint64_t generation; /* the greatest there is */
};

/*
 * Everything that recovery does but for writing. The arena is made and filled. clear: the cells that are to be
 * emptied (initialised here; bitmap_done() is the caller's). origin_fd -1: it is not looked at. volume_bytes: what
 * the volume must have (-EXDEV), looked at before anything is got or read for it; 0: whatever it says.
 */
int cow_recovery_look(int storage_fd, int origin_fd, uint64_t volume_bytes, struct cow_arena *arena,
                      struct bitmap *clear, struct cow_recovery *ret, struct umbra_error *err);

/*
 * The same, and the storage becomes what the arena is. Doing it again after a crash gives the same. -ENODATA: it is
 * no storage; -EXDEV: it is another volume's (size, or identity where what the volume holds has changed).
 */
int cow_recover(int storage_fd, int origin_fd, uint64_t volume_bytes, const char *identity, struct cow_arena *arena,
                struct cow_recovery *ret, struct umbra_error *err);

#endif
