/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to a cluster, over its Unix socket, as the user that this process is at the moment (peer
 * authentication).  No call waits without a limit: the server ends statements that take too long, and umbra ends a
 * writer whose server does not answer at all.
 */
#ifndef WRITERS_POSTGRESQL_CONNECTION_H
#define WRITERS_POSTGRESQL_CONNECTION_H

#include "writers/postgresql/cluster.h"
#include "writers/postgresql/config.h"

#include "umbra/writer.h"

#include <libpq-fe.h>

/*
 * Below umbra's own limits (umbra.conf(5)): what a statement may take, and one that begins with a checkpoint, which
 * may have to write all of shared_buffers.
 */
#define CONNECTION_STATEMENT_LIMIT "20s"
#define CONNECTION_CHECKPOINT_LIMIT "540s"

/* 0 and *ret, which PQfinish() ends; or a negative errno, said with umbra_writer_fail(): -EAGAIN: it is starting up.
 */
int connection_open(struct umbra_writer_session *s, const struct cluster *c, const struct config *config,
                    PGconn **ret);

/*
 * One row is expected of statement; *ret is PQclear()ed by the caller. argument ($1) may be NULL. A failure is said
 * as above; -EAGAIN when time or locks were the reason.
 */
int connection_row(struct umbra_writer_session *s, PGconn *connection, const char *statement, const char *argument,
                   PGresult **ret);

/* A statement without a row. */
int connection_do(struct umbra_writer_session *s, PGconn *connection, const char *statement);

static inline void cleanup_result(PGresult **result) { PQclear(*result); }
#define CLEANUP_RESULT __attribute__((cleanup(cleanup_result)))

#endif
