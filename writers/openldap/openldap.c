/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writer for OpenLDAP: an instance a slapd with databases of back-mdb.  While volumes are held nothing is committed
 * in any of its databases, and all that was acknowledged is on the disk. Why so: DESIGN.md.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/process.h"
#include "umbra/writer.h"
#include "writers/openldap/environment.h"
#include "writers/openldap/restore.h"
#include "writers/openldap/server.h"
#include "writers/service.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
  TRANSACTION_WAIT_S = 10, /* for the end of somebody's long transaction, before anybody is frozen */
  HOLD_WAIT_MS = 4000,     /* the same in freeze */
};

struct job {
  struct server server;
  struct environment *environments[DATABASES_MAX]; /* as the server's databases */
};

/* ---- identify ---- */

static void add_configuration(struct umbra_writer_instance *one, const struct server *s) {
  const char *slash = strrchr(s->configuration, '/');
  if (s->is_directory) {
    umbra_writer_instance_add_files(one, "configuration", s->configuration, "*", 1);
    return;
  }
  CLEANUP_FREE char *directory = strndup(s->configuration, (size_t)(slash - s->configuration));
  umbra_writer_instance_add_files(one, "configuration", directory && directory[0] ? directory : "/", slash + 1, 0);
}

static int add_instance(struct umbra_writer_list *list, const struct server *s, const struct umbra_error *failure) {
  struct umbra_writer_instance *one = umbra_writer_list_add(list, s->name, UMBRA_WRITER_BACK_END);
  if (failure->code < 0) {
    umbra_writer_instance_fail(one, "%s", failure->message);
    return 0;
  }
  CLEANUP_FREE char *key = server_key(s);
  if (!key)
    return -ENOMEM;
  umbra_writer_instance_set_key(one, key);
  umbra_writer_instance_set_process(one, s->pid, s->unit);
  umbra_writer_instance_set_restore(one, "stop-restore-start", s->unit);
  add_configuration(one, s);
  for (size_t i = 0; i < s->databases.count; i++) {
    const struct database *d = &s->databases.list[i];
    umbra_writer_instance_add_files(one, d->name, d->directory, "data.mdb", 0);
    /* Of processes that run: whoever opens the database first makes it anew. */
    umbra_writer_instance_add_direct_exclude(one, d->name, d->directory, "lock.mdb");
  }
  return 0;
}

static int add_server(pid_t pid, void *userdata) {
  struct server s;
  struct umbra_error failure = {0};
  int r = server_examine(pid, &s, &failure);
  if (r > 0) {
    int added = add_instance(userdata, &s, &failure);
    r = added < 0 ? added : r;
  }
  server_done(&s);
  return r;
}

static int identify(struct umbra_writer_list *list) {
  struct umbra_error err = {0};
  int r = service_each(server_programs, add_server, list, &err);
  if (r < 0)
    log_error("%s", err.message);
  return r;
}

/* ---- events ---- */

static void release_all(struct job *job) {
  for (size_t i = 0; i < job->server.databases.count; i++)
    if (job->environments[i])
      environment_release(job->environments[i]);
}

static int forget(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  if (!job)
    return 0;
  for (size_t i = 0; i < job->server.databases.count; i++)
    environment_close(job->environments[i]);
  server_done(&job->server);
  free(job);
  umbra_writer_set_userdata(s, NULL);
  return 0;
}

static int open_all(struct job *job, struct umbra_error *err) {
  const struct server *server = &job->server;
  if (!process_alive(server->pid, server->start_ticks))
    return error_set(err, -EAGAIN, UMBRA_REASON_WRITER_RETRY, "the server, process %d, has ended", (int)server->pid);
  int r = geteuid() == 0 ? umbra_writer_become(server->user, server->group) : 0;
  if (r < 0)
    return error_code(err, r, "becoming the server's user");
  for (size_t i = 0; i < server->databases.count && r == 0; i++) {
    r = environment_open(server->databases.list[i].directory, &job->environments[i], err);
    /* In another format: at one instant it is as after a crash, for which LMDB is made. */
    if (r == -EOPNOTSUPP && !server->databases.list[i].unsynced)
      r = 0;
  }
  return r;
}

static int prepare_backup(struct umbra_writer_session *s) {
  struct umbra_error err = {0};
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  umbra_writer_set_userdata(s, job);
  int r = server_from_key(umbra_writer_key(s), umbra_writer_instance_name(s), &job->server, &err);
  if (r == 0)
    r = open_all(job, &err);
  return r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : 0;
}

/* Begins to wait for all of them at once: a server may have one while it waits for another. */
static int hold_all(struct job *job, int64_t deadline_ns, struct umbra_error *err) {
  size_t count = job->server.databases.count;
  int r = 0;
  for (size_t i = 0; i < count && r == 0; i++)
    r = job->environments[i] ? environment_hold(job->environments[i], err)
                             : error_set(err, -EOPNOTSUPP, UMBRA_REASON_WRITER, "'%s' is of another version of LMDB",
                                         job->server.databases.list[i].directory);
  for (size_t i = 0; i < count && r == 0; i++)
    r = environment_held(job->environments[i], deadline_ns, err);
  if (r < 0)
    release_all(job);
  return r;
}

static int sync_all(struct job *job, struct umbra_error *err) {
  int r = 0;
  for (size_t i = 0; i < job->server.databases.count && r == 0; i++)
    if (job->environments[i])
      r = environment_sync(job->environments[i], err);
  return r;
}

/* The heavy part of freeze, once without anybody waiting; and the end of a transaction that is long is waited for. */
static int prepare_snapshot(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  int r = sync_all(job, &err);
  if (r < 0)
    return umbra_writer_fail(s, r, "%s", err.message);
  /* What comes of it is freeze's business. */
  if (hold_all(job, clock_monotonic_ns() + TRANSACTION_WAIT_S * NS_PER_S, NULL) == 0)
    release_all(job);
  return 0;
}

static bool any_unsynced(const struct job *job) {
  for (size_t i = 0; i < job->server.databases.count; i++)
    if (job->server.databases.list[i].unsynced)
      return true;
  return false;
}

static int freeze(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  int r = hold_all(job, clock_monotonic_ns() + HOLD_WAIT_MS * NS_PER_MS, &err);
  if (r < 0 && umbra_writer_set_is_whole(s) && !any_unsynced(job)) {
    umbra_writer_answer(s, "not-held", err.message);
    return 0;
  }
  if (r == 0 && (r = sync_all(job, &err)) < 0)
    release_all(job);
  if (r < 0)
    return umbra_writer_fail(s, r == -ETIMEDOUT ? -EAGAIN : r, "%s", err.message);
  for (size_t i = 0; i < job->server.databases.count; i++) {
    char key[RESTORE_ANSWER_BYTES], value[24];
    (void)snprintf(value, sizeof value, "%" PRIu64, environment_last_transaction(job->environments[i]));
    umbra_writer_answer(s, restore_answer_key(i, key), value);
  }
  return 0;
}

static int thaw(struct umbra_writer_session *s) {
  release_all(umbra_writer_userdata(s));
  return 0;
}

static int restoring(struct umbra_writer_session *s,
                     int (*work)(struct umbra_writer_session *s, const struct server *server)) {
  struct umbra_error err = {0};
  struct server server;
  int r = server_from_key(umbra_writer_key(s), umbra_writer_instance_name(s), &server, &err);
  r = r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : work(s, &server);
  server_done(&server);
  return r;
}

static int pre_restore(struct umbra_writer_session *s) { return restoring(s, restore_begin); }
static int post_restore(struct umbra_writer_session *s) { return restoring(s, restore_end); }

static const struct umbra_writer writer = {
    .name = "openldap",
    .identify = identify,
    .prepare_backup = prepare_backup,
    .prepare_snapshot = prepare_snapshot,
    .freeze = freeze,
    .thaw = thaw,
    .abort = forget,
    .shutdown = forget,
    .pre_restore = pre_restore,
    .post_restore = post_restore,
};

int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
