/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One entry of a directory within a round: is it wanted, has it changed, its copy made, its record written. */
#ifndef PROVIDERS_FILES_ENTRY_H
#define PROVIDERS_FILES_ENTRY_H

#include "providers/files/table.h"

#include <stdbool.h>
#include <sys/stat.h>

struct walk;

/* A directory under way. */
struct entry_place {
  int live_fd, copy_fd;
  struct statx directory; /* the live one, looked at before it was listed */
  uint64_t entry_device;  /* of the entry last copied: overlayfs has several in one directory */
  bool way;               /* only on the way to the scope */
  bool unsure;            /* the table may not know all that is in the copy */
  bool touched;           /* names in the copy were made or removed */
};

/* Opens the directory at w->path in both trees. 1; 0: it is gone (or a mount that cannot be seen through). */
int entry_place_open(struct walk *w, struct entry_place *place, struct umbra_error *err);
void entry_place_close(struct entry_place *place);

bool entry_is_wanted(const struct walk *w, const struct entry_place *place, const char *name);

/*
 * Makes the copy of an entry right. old: its record of the last round, or NULL. 1: *ret is its new record; 0: it is
 * gone, and so is its copy. The message of an error does not name the entry.
 */
int entry_copy(struct walk *w, struct entry_place *place, const char *name, const struct table_entry_head *old,
               struct table_entry_head *ret, struct umbra_error *err);

/* Adds the record to the table and to the map of linked files. */
int entry_record(struct walk *w, const struct entry_place *place, const struct table_entry_head *record,
                 const char *name);

/* Removes whatever has that name in the copy. What is not there counts as removed. */
int entry_remove(struct entry_place *place, const char *name);

/* Makes a symlink, fifo, socket or device node in the copy, without attributes. target: of a symlink, else NULL. */
int entry_make_special(int copy_fd, const char *name, const struct statx *sx, const char *target,
                       struct umbra_error *err);

#endif
