/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a copy lies: a directory in the storage directory, named by the shadow copy's id, mode 0700:
 *   tree/   the copy     table   what it was made from     table.new   the table of the round under way
 * A store of which the next set can profit stays, under a name made from the volume and the scope ("kept-…").
 */
#ifndef PROVIDERS_FILES_STORE_H
#define PROVIDERS_FILES_STORE_H

#include "common/error.h"
#include "providers/files/scope.h"
#include "providers/files/table.h"
#include "volume/volume.h"

#include <stdint.h>

struct store {
  char *path;      /* STORAGE/ID */
  char *kept_path; /* STORAGE/kept-IDENTITY */
  struct table_identity identity;
  int fd, tree_fd, table_fd; /* -1: not there */
};

/* Names only: nothing is made. */
int store_init(struct store *s, const char *storage_dir, const char *id, const struct volume *volume, int volume_fd,
               const struct scope *scope, struct umbra_error *err);
void store_done(struct store *s);

/*
 * Makes the store. With reuse it takes over a kept one, if there is one with a sound table: then s->table_fd is that
 * table, and until the store is sealed again nothing on disk says that it is whole. A damaged one is removed; *why
 * says so ("" otherwise).
 */
int store_make(struct store *s, bool reuse, struct umbra_error *why, struct umbra_error *err);

/* A new table to write: an empty file. store_take_table() makes it the store's table. Descriptor or negative errno.
 */
int store_new_table(struct store *s);
int store_take_table(struct store *s, int fd);

/* Makes copy and table durable and the table valid: the store can be kept. */
int store_seal(struct store *s, const struct table_totals *totals, struct umbra_error *err);

/* Removes a store, or, with kept_path, makes it the kept one in place of an older. What is not there counts as done.
 */
int store_remove(const char *path, const char *kept_path, struct umbra_error *err);

#endif
