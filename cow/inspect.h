/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at persistent storage that is not in use, as fsck does: reads all of it, writes nothing.  The storage may
 * be damaged or made to do harm.
 */
#ifndef COW_INSPECT_H
#define COW_INSPECT_H

#include "common/error.h"
#include "cow/recover.h"

/*
 * Checks all that can be checked without the volume: superblocks, records, cells, and the data of every entry that a
 * shadow copy needs. problem() is told each thing that is wrong, in words. What a crash leaves is none. 0, also if
 * there were problems; -ENODATA: it is no storage; others: it could not be read.
 */
int cow_inspect_check(int fd, void (*problem)(const char *text, void *context), void *context,
                      struct cow_recovery *ret, struct umbra_error *err);

/* What is there, as it is written, one after the other: each visit() but NULL; ends at one != 0, which is returned.
 */
struct cow_inspect_visits {
  int (*super)(unsigned index, int code, const struct cow_disk_super *super, void *context); /* code: of decoding */
  int (*record)(uint32_t index, enum cow_disk_found found, const struct cow_disk_record *record, void *context);
  int (*cell)(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell, void *context);
};
int cow_inspect_dump(int fd, const struct cow_inspect_visits *visits, void *context, struct umbra_error *err);

#endif
