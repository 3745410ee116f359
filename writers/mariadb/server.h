/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to one MariaDB or MySQL server.  All that stops others is held by the connection, so it ends with this
 * process; and nothing waits for a lock without a limit, since who waits for one keeps those out that come after.
 */
#ifndef WRITERS_MARIADB_SERVER_H
#define WRITERS_MARIADB_SERVER_H

#include "common/error.h"

#include <stdbool.h>

enum {
  SERVER_CONNECT_S = 10,
  SERVER_REPLY_S = 600, /* of one statement */
};

struct server;

/* user NULL: as options, a file of options (group "umbra" and those of clients), says. *ret: server_close(). */
int server_open(const char *socket, const char *user, const char *options, struct server **ret,
                struct umbra_error *err);
void server_close(struct server *s); /* NULL is fine */

bool server_is_mariadb(const struct server *s); /* 10.4 or later, with BACKUP STAGE; else MySQL 8 or later */

/* Runs a statement. -EAGAIN: a lock was not to be had in time. */
int server_run(struct server *s, const char *statement, struct umbra_error *err);

/* The first column of the first row, and the second; NULL where there is none. Either may be NULL. free() both. */
int server_ask(struct server *s, const char *statement, char **ret_first, char **ret_second, struct umbra_error *err);

#endif
