/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/mariadb/server.h"

#include "common/cleanup.h"

#include <errno.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <string.h>

enum { MARIADB_MIN = 100400, MYSQL_MIN = 80000 };

struct server {
  MYSQL *connection;
  bool mariadb;
};

static int failed(const struct server *s, const char *what, struct umbra_error *err) {
  unsigned number = mysql_errno(s->connection);
  int code = number == ER_LOCK_WAIT_TIMEOUT ? -EAGAIN
             : number == ER_ACCESS_DENIED_ERROR || number == ER_SPECIFIC_ACCESS_DENIED_ERROR ||
                     number == ER_ACCESS_DENIED_NO_PASSWORD_ERROR
                 ? -EACCES
                 : -EIO;
  return error_set(err, code, error_reason_from_errno(code), "%s: %s (%u)", what, mysql_error(s->connection), number);
}

int server_open(const char *socket, const char *user, const char *options, struct server **ret,
                struct umbra_error *err) {
  struct server *s = calloc(1, sizeof *s);
  MYSQL *c = s ? mysql_init(NULL) : NULL;
  if (!c) {
    free(s);
    return error_code(err, -ENOMEM, "connecting to '%s'", socket);
  }
  s->connection = c;
  /* The server is asked, and asks for nothing: no file of ours, no password in the clear. */
  const unsigned connect_s = SERVER_CONNECT_S, reply_s = SERVER_REPLY_S, none = 0;
  (void)mysql_optionsv(c, MYSQL_OPT_LOCAL_INFILE, &none);
  (void)mysql_optionsv(c, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
  (void)mysql_optionsv(c, MYSQL_OPT_READ_TIMEOUT, &reply_s);
  (void)mysql_optionsv(c, MYSQL_OPT_WRITE_TIMEOUT, &reply_s);
  if (options) {
    (void)mysql_optionsv(c, MYSQL_READ_DEFAULT_FILE, options);
    (void)mysql_optionsv(c, MYSQL_READ_DEFAULT_GROUP, "umbra");
  }
  int r = mysql_real_connect(c, "localhost", user, NULL, NULL, 0, socket, 0) ? 0 : failed(s, "connecting", err);
  if (r == 0) {
    unsigned long version = mysql_get_server_version(c);
    s->mariadb = mariadb_connection(c);
    if (version < (s->mariadb ? MARIADB_MIN : MYSQL_MIN))
      r = error_set(err, -EOPNOTSUPP, UMBRA_REASON_WRITER, "the server is %s: MariaDB 10.4 or MySQL 8.0 is needed",
                    mysql_get_server_info(c));
  }
  if (r < 0) {
    server_close(s);
    return r;
  }
  *ret = s;
  return 0;
}

void server_close(struct server *s) {
  if (!s)
    return;
  mysql_close(s->connection);
  free(s);
}

bool server_is_mariadb(const struct server *s) { return s->mariadb; }

int server_run(struct server *s, const char *statement, struct umbra_error *err) {
  return server_ask(s, statement, NULL, NULL, err);
}

static int take(const char *value, char **ret) {
  if (!ret || !value)
    return 0;
  *ret = strdup(value);
  return *ret ? 0 : -ENOMEM;
}

int server_ask(struct server *s, const char *statement, char **ret_first, char **ret_second,
               struct umbra_error *err) {
  if (ret_first)
    *ret_first = NULL;
  if (ret_second)
    *ret_second = NULL;
  if (mysql_query(s->connection, statement) != 0)
    return failed(s, statement, err);
  MYSQL_RES *result = mysql_store_result(s->connection);
  MYSQL_ROW row = result ? mysql_fetch_row(result) : NULL;
  int r = row ? take(row[0], ret_first) : 0;
  if (row && r == 0 && mysql_num_fields(result) > 1)
    r = take(row[1], ret_second);
  mysql_free_result(result);
  return r < 0 ? error_code(err, r, "%s", statement) : 0;
}
