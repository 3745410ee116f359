/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The databases of one owner that one set, or one restore, is about. */
#ifndef WRITERS_SQLITE_DATABASES_H
#define WRITERS_SQLITE_DATABASES_H

#include "writers/sqlite/database.h"
#include "writers/sqlite/discovery.h"

#include <jansson.h>

struct database_entry {
  struct database database;
  bool impatient; /* somebody has had it locked for long: not waited for once writers are frozen */
  bool skipped;   /* it could not be locked */
};

struct databases {
  uid_t user;
  gid_t group;
  struct database_entry *list; /* sorted by path */
  size_t count;
  bool one_instant; /* the set's volumes will show one */
};

/* The word that events bring back for databases found[0…count), which are of one owner. JSON text; NULL: no memory.
 * free(). */
char *databases_key(const struct found *found, size_t count);

/* The reverse, none of them open. *ret is the caller's: databases_done(), also after a failure. */
int databases_from_key(const char *key, struct databases *ret, struct umbra_error *err);
void databases_done(struct databases *all); /* closes them */

/* Leaves only those that lie on the volumes, and at or below the paths, of a set's document; sets one_instant. As
 * root. */
int databases_keep_of_set(struct databases *all, const char *document, struct umbra_error *err);

/*
 * Locks all of them, or all but those that others still have locked at the deadline, which are then skipped.  None is
 * waited for long while another is held: an application that locks two of them itself in another order goes on.
 * Negative: none is locked.
 */
int databases_lock(struct databases *all, int64_t deadline_ns, struct umbra_error *err);
void databases_unlock(struct databases *all);
void databases_close(struct databases *all);

#endif
