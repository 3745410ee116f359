/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server's files that come back: it does not run meanwhile, and all of what has come back is read. */
#ifndef WRITERS_OPENLDAP_RESTORE_H
#define WRITERS_OPENLDAP_RESTORE_H

#include "umbra/writer.h"
#include "writers/openldap/server.h"

/* What freeze answers for the database of that number, and a restore compares: its last transaction. */
enum { RESTORE_ANSWER_BYTES = 40 };
const char *restore_answer_key(size_t number, char buffer[RESTORE_ANSWER_BYTES]);

/*
 * Stops the unit whose server has its databases where they come back to; where there is no unit to stop, fails with
 * -EBUSY and the process. As root.
 */
int restore_begin(struct umbra_writer_session *s, const struct server *server);

/* Reads all that has come back, each file as its owner, says what it is, and starts the unit, unless it is elsewhere.
 */
int restore_end(struct umbra_writer_session *s, const struct server *server);

#endif
