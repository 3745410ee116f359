/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The LMDB environment of one database, which a server has open beside us.  A hold is LMDB's writer lock, taken by an
 * empty write transaction in a thread of its own, since it belongs to a thread: whoever wants to write waits, without
 * an error, and readers go on.  The lock is robust: at the end of this process, in whatever way, it is given up.
 * Why this and nothing else: DESIGN.md.
 */
#ifndef WRITERS_OPENLDAP_ENVIRONMENT_H
#define WRITERS_OPENLDAP_ENVIRONMENT_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { ENVIRONMENT_TABLES_MAX = 1024 }; /* of one that is checked */

struct environment;

/*
 * As the server's user, one directory once a process (closing any descriptor of its lock file gives its locks away).
 * -ENOENT: there is none. *ret: environment_close().
 */
int environment_open(const char *directory, struct environment **ret, struct umbra_error *err);
void environment_close(struct environment *e); /* NULL is fine. Ends a hold. */

/* What has been written, on the disk, whether the server waits for that or not. Blocks. */
int environment_sync(struct environment *e, struct umbra_error *err);

/* Begins to wait for the lock; environment_held() waits for the outcome, until the deadline, -ETIMEDOUT. */
int environment_hold(struct environment *e, struct umbra_error *err);
int environment_held(struct environment *e, int64_t deadline_ns, struct umbra_error *err);

/* Fine for one that is not held. One that was not got in time is never taken: it cannot be held again. */
void environment_release(struct environment *e);

/* While it is held: the last transaction that is committed. */
uint64_t environment_last_transaction(const struct environment *e);

/* What is in one that nobody has open. */
struct environment_contents {
  uint64_t last_transaction;
  int64_t entries; /* of the directory; -1: it has none */
};

/*
 * Reads all of the file data.mdb that fd is (O_PATH will do), by the rights that the process has now. Of a damaged
 * one it may crash, or do what the file's maker wants: in a process of its own (writers/apart.h), of the file's
 * owner.
 */
int environment_check(int fd, struct environment_contents *ret, struct umbra_error *err);

#endif
