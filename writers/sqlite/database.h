/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One SQLite database: kept from being written by a transaction of our own, which ends with this process in whatever
 * way that ends.  The caller has become the database's owner.  No function but database_check() reads its contents.
 *
 * While a database is open nothing else in this process may open and close its file: that would drop the locks
 * (sqlite.org/howtocorrupt.html, 2.2).
 */
#ifndef WRITERS_SQLITE_DATABASE_H
#define WRITERS_SQLITE_DATABASE_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sqlite3;

enum database_state {
  DATABASE_CLOSED,
  DATABASE_OPEN,
  DATABASE_LOCKED, /* nobody else is in a write transaction, and none can begin one */
  DATABASE_GONE,   /* there is no such file any more */
};

struct database {
  char *path;
  enum database_state state;
  struct sqlite3 *connection;
  int64_t deadline_ns; /* until when locks of others are waited for */
};

/* Opens an existing file. 0, also when it is gone; or negative. */
int database_open(struct database *d, struct umbra_error *err);
void database_close(struct database *d); /* fine for one that is not open */

/* Brings the write-ahead log into the file, as far as others let it within the time. What it could not is no failure.
 */
void database_checkpoint(struct database *d, int64_t deadline_ns);

/* BEGIN IMMEDIATE. 0; -EBUSY: others had it locked until the deadline; -EAGAIN: another file has taken its place; …
 */
int database_lock(struct database *d, int64_t deadline_ns, struct umbra_error *err);
void database_unlock(struct database *d); /* fine for one that is not locked */

/*
 * Not open, and nobody else has it open: brings what is beside it into it, so that nothing of that is left.  False:
 * there is no such database, or it cannot be done.
 */
bool database_settle(const char *path);

/*
 * After a restore, not open: recovers it and checks it (PRAGMA integrity_check). 0; -EBADMSG with the first thing
 * that is wrong in the error; or another negative errno. Reads all of it.
 */
int database_check(const char *path, struct umbra_error *err);

#endif
