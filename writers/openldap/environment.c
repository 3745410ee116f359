/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/openldap/environment.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <string.h>

enum hold_state { IDLE, WAITING, HELD, ENDED };

struct environment {
  MDB_env *env;
  char *directory;
  pthread_t keeper;

  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t changed;
  enum hold_state state;
  bool wanted;    /* false: whoever gets the lock gives it back at once */
  bool abandoned; /* the keeper may still wait, and uses this for ever */
  int result;     /* of LMDB, at ENDED */
  uint64_t last_transaction;
};

/* LMDB's own codes are negative and no errno; positive ones are. */
static int failed(struct umbra_error *err, int code, const char *directory) {
  int number = code > 0 ? -code : code == MDB_VERSION_MISMATCH ? -EOPNOTSUPP : -EBADMSG;
  return error_set(err, number, code > 0 ? error_reason_from_errno(number) : UMBRA_REASON_WRITER, "'%s': %s",
                   directory, mdb_strerror(code));
}

int environment_open(const char *directory, struct environment **ret, struct umbra_error *err) {
  char path[PATH_MAX];
  /* LMDB would make one. */
  if ((size_t)snprintf(path, sizeof path, "%s/data.mdb", directory) >= sizeof path || access(path, F_OK) < 0)
    return error_code(err, -ENOENT, "opening the database in '%s'", directory);
  struct environment *e = calloc(1, sizeof *e);
  if (!e || !(e->directory = strdup(directory))) {
    free(e);
    return error_code(err, -ENOMEM, "opening the database in '%s'", directory);
  }
  pthread_condattr_t monotonic;
  (void)pthread_mutex_init(&e->lock, NULL);
  (void)pthread_condattr_init(&monotonic);
  (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  (void)pthread_cond_init(&e->changed, &monotonic);
  (void)pthread_condattr_destroy(&monotonic);
  int code = mdb_env_create(&e->env);
  if (code == 0)
    code = mdb_env_open(e->env, directory, MDB_NOTLS, 0600);
  if (code != 0) {
    environment_close(e);
    return failed(err, code, directory);
  }
  *ret = e;
  return 0;
}

void environment_close(struct environment *e) {
  if (!e)
    return;
  environment_release(e);
  if (e->abandoned)
    return;
  mdb_env_close(e->env);
  (void)pthread_cond_destroy(&e->changed);
  (void)pthread_mutex_destroy(&e->lock);
  free(e->directory);
  free(e);
}

int environment_sync(struct environment *e, struct umbra_error *err) {
  int code = mdb_env_sync(e->env, 1);
  return code == 0 ? 0 : failed(err, code, e->directory);
}

/* ---- the hold ---- */

static int begin(struct environment *e, MDB_txn **ret) {
  int code = mdb_txn_begin(e->env, NULL, 0, ret);
  /* The server was given more room since. */
  if (code == MDB_MAP_RESIZED && (code = mdb_env_set_mapsize(e->env, 0)) == 0)
    code = mdb_txn_begin(e->env, NULL, 0, ret);
  return code;
}

static void *keep_held(void *context) {
  struct environment *e = context;
  MDB_txn *transaction = NULL;
  int code = begin(e, &transaction);
  (void)pthread_mutex_lock(&e->lock);
  e->state = code == 0 ? HELD : ENDED;
  e->result = code;
  if (code == 0)
    e->last_transaction = mdb_txn_id(transaction) - 1;
  (void)pthread_cond_signal(&e->changed);
  while (code == 0 && e->wanted)
    (void)pthread_cond_wait(&e->changed, &e->lock);
  (void)pthread_mutex_unlock(&e->lock);
  if (code == 0)
    mdb_txn_abort(transaction);
  return NULL;
}

int environment_hold(struct environment *e, struct umbra_error *err) {
  if (e->abandoned)
    return error_set(err, -ETIMEDOUT, UMBRA_REASON_WRITER_RETRY, "'%s': a transaction of somebody does not end",
                     e->directory);
  e->state = WAITING;
  e->wanted = true;
  int r = pthread_create(&e->keeper, NULL, keep_held, e);
  if (r != 0) {
    e->state = IDLE;
    return error_code(err, -r, "holding the database in '%s'", e->directory);
  }
  return 0;
}

int environment_held(struct environment *e, int64_t deadline_ns, struct umbra_error *err) {
  const struct timespec deadline = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
  int waited = 0;
  (void)pthread_mutex_lock(&e->lock);
  while (e->state == WAITING && waited != ETIMEDOUT)
    waited = pthread_cond_timedwait(&e->changed, &e->lock, &deadline);
  enum hold_state state = e->state;
  (void)pthread_mutex_unlock(&e->lock);
  if (state == HELD)
    return 0;
  if (state == WAITING)
    return error_set(err, -ETIMEDOUT, UMBRA_REASON_WRITER_RETRY, "'%s': a transaction of somebody does not end",
                     e->directory);
  return failed(err, e->result, e->directory);
}

void environment_release(struct environment *e) {
  (void)pthread_mutex_lock(&e->lock);
  enum hold_state state = e->state;
  e->wanted = false;
  e->abandoned = e->abandoned || state == WAITING;
  if (state != WAITING)
    e->state = IDLE;
  (void)pthread_cond_broadcast(&e->changed);
  (void)pthread_mutex_unlock(&e->lock);
  if (state == HELD || state == ENDED)
    (void)pthread_join(e->keeper, NULL);
  else if (state == WAITING)
    (void)pthread_detach(e->keeper);
}

uint64_t environment_last_transaction(const struct environment *e) { return e->last_transaction; }

/* ---- the check ---- */

/* Touches all of one table. */
static int read_table(MDB_txn *transaction, MDB_dbi table) {
  MDB_cursor *cursor;
  MDB_val key, value;
  int code = mdb_cursor_open(transaction, table, &cursor);
  if (code != 0)
    return code;
  volatile unsigned char last;
  while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
    for (size_t i = 0; i < value.mv_size; i++)
      last = ((const unsigned char *)value.mv_data)[i];
  (void)last;
  mdb_cursor_close(cursor);
  return code == MDB_NOTFOUND ? 0 : code;
}

static int read_named(MDB_txn *transaction, const MDB_val *name, struct environment_contents *ret) {
  char text[256];
  MDB_dbi table;
  MDB_stat stat;
  if (name->mv_size >= sizeof text)
    return MDB_CORRUPTED;
  memcpy(text, name->mv_data, name->mv_size);
  text[name->mv_size] = '\0';
  int code = mdb_dbi_open(transaction, text, 0, &table);
  if (code == 0)
    code = mdb_stat(transaction, table, &stat);
  if (code == 0 && strcmp(text, "id2e") == 0)
    ret->entries = (int64_t)stat.ms_entries;
  return code == 0 ? read_table(transaction, table) : code;
}

static int read_all(MDB_txn *transaction, struct environment_contents *ret) {
  MDB_dbi names;
  MDB_cursor *cursor;
  MDB_val key, value;
  int code = mdb_dbi_open(transaction, NULL, 0, &names);
  if (code == 0)
    code = mdb_cursor_open(transaction, names, &cursor);
  if (code != 0)
    return code;
  while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
    if ((code = read_named(transaction, &key, ret)) != 0)
      break;
  mdb_cursor_close(cursor);
  return code == MDB_NOTFOUND ? 0 : code;
}

int environment_check(int fd, struct environment_contents *ret, struct umbra_error *err) {
  MDB_env *env = NULL;
  MDB_txn *transaction = NULL;
  char path[64];
  *ret = (struct environment_contents){.entries = -1};
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int code = mdb_env_create(&env);
  if (code == 0)
    code = mdb_env_set_maxdbs(env, ENVIRONMENT_TABLES_MAX);
  /* Without a lock: where it has come back to, nothing is made beside it. */
  if (code == 0)
    code = mdb_env_open(env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOSUBDIR, 0600);
  if (code == 0)
    code = mdb_txn_begin(env, NULL, MDB_RDONLY, &transaction);
  if (code == 0)
    code = read_all(transaction, ret);
  if (transaction) {
    ret->last_transaction = mdb_txn_id(transaction);
    mdb_txn_abort(transaction);
  }
  if (env)
    mdb_env_close(env);
  return code == 0 ? 0 : failed(err, code, "data.mdb");
}
