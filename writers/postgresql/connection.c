/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking a server. See connection.h. */
#include "writers/postgresql/connection.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No name means anything but what PostgreSQL calls so. */
#define OPTIONS "-c statement_timeout=" CONNECTION_STATEMENT_LIMIT " -c lock_timeout=10s -c search_path=pg_catalog"
#define CONNECT_LIMIT_S "10"

enum { VERSION_OF_IDLE_LIMIT = 140000 };

/* Where umbra was started from is nothing that a server should hear of. */
static void forget_environment(const char *home) {
  for (char **at = environ; *at;) {
    char name[64];
    size_t length = strcspn(*at, "=");
    bool ours = strncmp(*at, "PG", 2) == 0 && length < sizeof name;
    if (ours) {
      (void)snprintf(name, sizeof name, "%.*s", (int)length, *at);
      (void)unsetenv(name);
    }
    at = ours ? environ : at + 1;
  }
  (void)setenv("HOME", home, 1);
}

static void be_silent(void *context, const char *message) {
  (void)context;
  (void)message;
}

/* One line, without the server's line break and what follows it. */
static int say(struct umbra_writer_session *s, int code, const char *doing, const char *message) {
  while (*message == '\n' || *message == ' ')
    message++;
  return umbra_writer_fail(s, code, "%s: %.*s", doing, (int)strcspn(message, "\n"), message);
}

int connection_open(struct umbra_writer_session *s, const struct cluster *c, const struct config *config,
                    PGconn **ret) {
  if (!c->socket_directory)
    return umbra_writer_fail(s, -ENOTCONN, "cluster %s listens on no Unix socket", c->name);
  const struct passwd *owner = getpwuid(c->owner);
  char port[16];
  (void)snprintf(port, sizeof port, "%u", c->port);
  const char *role = config->role ? config->role : owner ? owner->pw_name : NULL;
  if (!role)
    return umbra_writer_fail(s, -ENOENT, "user %u, who owns '%s', has no name", (unsigned)c->owner,
                             c->data_directory);
  forget_environment(owner ? owner->pw_dir : "/");
  static const char *const keys[] = {"host",    "port", "dbname", "user", "application_name", "connect_timeout",
                                     "options", NULL};
  const char *const values[] = {
      c->socket_directory, port, config->database, role, "umbra", CONNECT_LIMIT_S, OPTIONS, NULL};
  PGconn *connection = PQconnectdbParams(keys, values, 0);
  if (connection && PQstatus(connection) == CONNECTION_OK) {
    (void)PQsetNoticeProcessor(connection, be_silent, NULL);
    *ret = connection;
    /* A provider may copy for hours before there is anything to say. */
    return PQserverVersion(connection) >= VERSION_OF_IDLE_LIMIT
               ? connection_do(s, connection, "SET idle_session_timeout = 0")
               : 0;
  }
  int code = PQpingParams(keys, values, 0) == PQPING_REJECT ? -EAGAIN : -ECONNREFUSED;
  (void)say(s, code, "connecting", connection ? PQerrorMessage(connection) : "out of memory");
  PQfinish(connection);
  return code;
}

/* SQLSTATE: 57014 out of time, 55P03 a lock not got, 53… out of something, 57P0… shutting down or starting up. */
static int code_of(const PGresult *result) {
  const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  bool again = !state || strcmp(state, "57014") == 0 || strcmp(state, "55P03") == 0 || strncmp(state, "53", 2) == 0 ||
               strncmp(state, "57P0", 4) == 0;
  return again ? -EAGAIN : -EIO;
}

static int run(struct umbra_writer_session *s, PGconn *connection, const char *statement, const char *argument,
               ExecStatusType wanted, PGresult **ret) {
  const char *const arguments[] = {argument};
  PGresult *result = PQexecParams(connection, statement, argument ? 1 : 0, NULL, arguments, NULL, NULL, 0);
  if (PQresultStatus(result) == wanted && (wanted != PGRES_TUPLES_OK || PQntuples(result) == 1)) {
    *ret = result;
    return 0;
  }
  int code = code_of(result);
  const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  (void)say(s, code, statement, message ? message : PQerrorMessage(connection));
  PQclear(result);
  return code;
}

int connection_row(struct umbra_writer_session *s, PGconn *connection, const char *statement, const char *argument,
                   PGresult **ret) {
  return run(s, connection, statement, argument, PGRES_TUPLES_OK, ret);
}

int connection_do(struct umbra_writer_session *s, PGconn *connection, const char *statement) {
  PGresult *result = NULL;
  int r = run(s, connection, statement, NULL, PGRES_COMMAND_OK, &result);
  PQclear(result);
  return r;
}
