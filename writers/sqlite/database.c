/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/sqlite/database.h"

#include "common/clock.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * Short and without growing: those who hold the lock for a few ms each, one after the other, leave gaps that a
 * patient sleeper never meets.
 */
enum { BUSY_SLEEP_NS = 500 * 1000 };

static int on_busy(void *context, int tries) {
  (void)tries;
  const struct database *d = context;
  if (clock_monotonic_ns() >= d->deadline_ns)
    return 0;
  const struct timespec pause = {.tv_nsec = BUSY_SLEEP_NS};
  (void)nanosleep(&pause, NULL);
  return 1;
}

static int code_of(int result) {
  switch (result & 0xff) {
  case SQLITE_OK:
    return 0;
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return -EBUSY;
  case SQLITE_NOMEM:
    return -ENOMEM;
  case SQLITE_PERM:
  case SQLITE_AUTH:
    return -EACCES;
  case SQLITE_READONLY:
    return result == SQLITE_READONLY_DBMOVED ? -EAGAIN : -EROFS;
  case SQLITE_FULL:
    return -ENOSPC;
  case SQLITE_NOTADB:
  case SQLITE_CORRUPT:
    return -EBADMSG;
  default:
    return -EIO;
  }
}

static int failed(struct sqlite3 *connection, int result, const char *what, const char *path,
                  struct umbra_error *err) {
  int code = code_of(result);
  return error_set(err, code, error_reason_from_errno(code), "%s '%s': %s", what, path,
                   connection ? sqlite3_errmsg(connection) : sqlite3_errstr(result));
}

static bool is_gone(const struct database *d) { return access(d->path, F_OK) < 0 && errno == ENOENT; }

int database_open(struct database *d, struct umbra_error *err) {
  if (is_gone(d)) {
    d->state = DATABASE_GONE;
    return 0;
  }
  int result = sqlite3_open_v2(d->path, &d->connection,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX, NULL);
  if (result != SQLITE_OK) {
    int r = failed(d->connection, result, "opening", d->path, err);
    database_close(d);
    return r;
  }
  (void)sqlite3_extended_result_codes(d->connection, 1);
  (void)sqlite3_busy_handler(d->connection, on_busy, d);
  d->state = DATABASE_OPEN;
  return 0;
}

void database_close(struct database *d) {
  database_unlock(d);
  (void)sqlite3_close(d->connection);
  d->connection = NULL;
  if (d->state == DATABASE_OPEN)
    d->state = DATABASE_CLOSED;
}

void database_checkpoint(struct database *d, int64_t deadline_ns) {
  if (d->state != DATABASE_OPEN)
    return;
  /* Passive stands in nobody's way. After it there is little left for the one that keeps writers out until it is
   * done. */
  d->deadline_ns = deadline_ns;
  if (sqlite3_wal_checkpoint_v2(d->connection, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK)
    (void)sqlite3_wal_checkpoint_v2(d->connection, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

static bool has_moved(struct database *d) {
  int moved = 0;
  return sqlite3_file_control(d->connection, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

int database_lock(struct database *d, int64_t deadline_ns, struct umbra_error *err) {
  if (d->state != DATABASE_OPEN)
    return 0;
  d->deadline_ns = deadline_ns;
  int result = sqlite3_exec(d->connection, "BEGIN IMMEDIATE", NULL, NULL, NULL);
  if (result != SQLITE_OK)
    return failed(d->connection, result, "locking", d->path, err);
  d->state = DATABASE_LOCKED;
  if (has_moved(d)) {
    database_close(d);
    if (is_gone(d)) {
      d->state = DATABASE_GONE;
      return 0;
    }
    return error_set(err, -EAGAIN, UMBRA_REASON_WRITER_RETRY, "another file has taken the place of '%s'", d->path);
  }
  return 0;
}

void database_unlock(struct database *d) {
  if (d->state != DATABASE_LOCKED)
    return;
  (void)sqlite3_exec(d->connection, "ROLLBACK", NULL, NULL, NULL);
  d->state = DATABASE_OPEN;
}

bool database_settle(const char *path) {
  struct database d = {.path = (char *)path};
  if (database_open(&d, NULL) < 0 || d.state == DATABASE_GONE)
    return false;
  /* To lock it is to roll back what a crash has left; the last one that closes it brings in the log and removes it.
   */
  bool settled = database_lock(&d, 0, NULL) == 0;
  database_unlock(&d);
  database_checkpoint(&d, 0);
  database_close(&d);
  return settled;
}

static int take_row(void *context, int columns, char **values, char **names) {
  (void)names;
  char *first = context;
  if (first[0] == '\0')
    (void)snprintf(first, ERROR_MESSAGE_BYTES_MAX / 2, "%s", columns > 0 && values[0] ? values[0] : "no answer");
  return 0;
}

int database_check(const char *path, struct umbra_error *err) {
  struct database d = {.path = (char *)path};
  int r = database_open(&d, err);
  if (r < 0 || d.state == DATABASE_GONE)
    return r;
  /* Its functions and triggers are not ours to run, whoever wrote them. */
  (void)sqlite3_db_config(d.connection, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  (void)sqlite3_db_config(d.connection, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  char first[ERROR_MESSAGE_BYTES_MAX / 2] = "";
  int result = sqlite3_exec(d.connection, "PRAGMA integrity_check(1)", take_row, first, NULL);
  if (result != SQLITE_OK)
    r = failed(d.connection, result, "checking", path, err);
  else if (strcmp(first, "ok") != 0)
    r = error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "'%s' is damaged: %s", path, first);
  database_close(&d);
  return r;
}
