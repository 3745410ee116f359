/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which path an inode with several links was first seen under.  Kept in files, not in memory: a tree of a million
 * hard links is nothing unusual where rsnapshot was at work.
 */
#ifndef BACKUP_LINK_TABLE_H
#define BACKUP_LINK_TABLE_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

struct link_table;

int link_table_new(int spool_dir_fd, struct link_table **ret, struct umbra_error *err);
void link_table_free(struct link_table *t);

/*
 * Looks (device, inode) up. 1: seen before, and its first path is in *ret (the table's until the next call); 0: it
 * was new and is now known under path; negative.
 */
int link_table_add(struct link_table *t, uint64_t device, uint64_t inode, const char *path, const char **ret,
                   struct umbra_error *err);

#endif
