/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writer for MariaDB and MySQL: an instance a server.  While volumes are held a backup lock of our connection keeps
 * commits and writes to tables without transactions out; InnoDB writes its pages on meanwhile and recovers them from
 * its log, for which the shadow copy has to show all of its files at one instant.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "umbra/writer.h"
#include "writers/mariadb/instance.h"
#include "writers/service.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum {
  LOG_WAIT_MS = 3000,
  LOG_POLL_MS = 10,
};

struct job {
  struct instance instance;
  struct server *server;
};

static const char *config_dir(void) {
  const char *dir = getenv("UMBRA_CONFIG_DIR");
  return dir ? dir : "/etc/umbra";
}

/* ---- identify ---- */

static int add_instance(struct umbra_writer_list *list, const struct instance *i, const struct umbra_error *failure) {
  struct umbra_writer_instance *one = umbra_writer_list_add(list, i->name, UMBRA_WRITER_BACK_END);
  if (failure->code < 0) {
    umbra_writer_instance_fail(one, "%s", failure->message);
    return 0;
  }
  CLEANUP_FREE char *key = instance_key(i);
  if (!key)
    return -ENOMEM;
  umbra_writer_instance_set_key(one, key);
  umbra_writer_instance_set_process(one, i->pid, i->unit);
  umbra_writer_instance_set_restore(one, "stop-restore-start", i->unit);
  for (char **directory = i->directories; *directory; directory++) {
    umbra_writer_instance_add_files(one, "data", *directory, "*", 1);
    /* Made anew at each start. */
    umbra_writer_instance_add_exclude(one, "data", *directory, "ibtmp*");
  }
  return 0;
}

static int add_server(pid_t pid, void *userdata) {
  struct instance i;
  struct umbra_error failure = {0};
  int r = instance_examine(pid, config_dir(), &i, &failure);
  if (r > 0)
    r = add_instance(userdata, &i, &failure);
  instance_done(&i);
  return r;
}

static int identify(struct umbra_writer_list *list) {
  struct umbra_error err = {0};
  int r = service_each(instance_programs, add_server, list, &err);
  if (r < 0)
    log_error("%s", err.message);
  return r;
}

/* ---- events ---- */

static int forget(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  if (!job)
    return 0;
  server_close(job->server);
  instance_done(&job->instance);
  free(job);
  umbra_writer_set_userdata(s, NULL);
  return 0;
}

static int prepare_backup(struct umbra_writer_session *s) {
  struct umbra_error err = {0};
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  umbra_writer_set_userdata(s, job);
  int r = instance_from_key(umbra_writer_key(s), umbra_writer_instance_name(s), &job->instance, &err);
  if (r == 0)
    r = instance_open(&job->instance, config_dir(), &job->server, &err);
  return r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : 0;
}

/* Statements, one after the other, until one fails. */
static int run_all(struct umbra_writer_session *s, struct server *server, const char *const *statements) {
  struct umbra_error err = {0};
  int r = 0;
  for (; r == 0 && *statements; statements++)
    r = server_run(server, *statements, &err);
  return r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : 0;
}

static int prepare_snapshot(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  if (!umbra_writer_set_is_whole(s))
    return umbra_writer_fail(s, -EIO,
                             "InnoDB never stops writing: a shadow copy has to show all of its files at one instant "
                             "(is one of its directories on another volume?)");
  static const char *const mariadb[] = {"SET SESSION lock_wait_timeout = 5", "BACKUP STAGE START", NULL};
  static const char *const mysql[] = {"SET SESSION lock_wait_timeout = 5", NULL};
  return run_all(s, job->server, server_is_mariadb(job->server) ? mariadb : mysql);
}

/* Where a replica, or a replay of the binary log, goes on from what is in the shadow copy. */
static void answer_position(struct umbra_writer_session *s, struct server *server) {
  CLEANUP_FREE char *file = NULL, *position = NULL, *gtid = NULL, *replicated = NULL;
  bool mariadb = server_is_mariadb(server);
  if (server_ask(server, "SHOW MASTER STATUS", &file, &position, NULL) < 0)
    (void)server_ask(server, "SHOW BINARY LOG STATUS", &file, &position, NULL);
  (void)server_ask(server, mariadb ? "SELECT @@gtid_binlog_pos" : "SELECT @@gtid_executed", &gtid, NULL, NULL);
  if (mariadb)
    (void)server_ask(server, "SELECT @@gtid_slave_pos", &replicated, NULL, NULL);
  const struct {
    const char *key, *value;
  } answers[] = {
      {"binlog_file", file}, {"binlog_position", position}, {"gtid", gtid}, {"gtid_replicated", replicated}};
  for (size_t k = 0; k < sizeof answers / sizeof *answers; k++)
    if (answers[k].value && answers[k].value[0])
      umbra_writer_answer(s, answers[k].key, answers[k].value);
}

static int64_t number(struct server *server, const char *statement) {
  CLEANUP_FREE char *value = NULL;
  return server_ask(server, statement, &value, NULL, NULL) == 0 && value ? strtoll(value, NULL, 10) : -1;
}

#define STATUS_OF(name) "SELECT variable_value FROM information_schema.global_status WHERE variable_name = '" name "'"

/*
 * With innodb_flush_log_at_trx_commit = 0 the server writes its log once in innodb_flush_log_at_timeout (1 s), and no
 * statement makes it do so before.
 */
static void wait_for_log(struct umbra_writer_session *s, struct server *server) {
  if (number(server, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit") != 0)
    return;
  int64_t committed = number(server, STATUS_OF("INNODB_LSN_CURRENT"));
  int64_t deadline_ns = clock_monotonic_ns() + LOG_WAIT_MS * NS_PER_MS;
  const struct timespec pause = {.tv_nsec = LOG_POLL_MS * NS_PER_MS};
  while (number(server, STATUS_OF("INNODB_LSN_FLUSHED")) < committed) {
    if (clock_monotonic_ns() >= deadline_ns) {
      umbra_writer_answer(s, "log", "behind by as much as innodb_flush_log_at_timeout allows");
      return;
    }
    (void)nanosleep(&pause, NULL);
  }
}

static int freeze(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  /* From FLUSH on nobody writes to tables without transactions, so that is not done before. */
  static const char *const mariadb[] = {"BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL", "BACKUP STAGE BLOCK_COMMIT",
                                        "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS", NULL};
  static const char *const mysql[] = {"LOCK INSTANCE FOR BACKUP", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS", NULL};
  int r = run_all(s, job->server, server_is_mariadb(job->server) ? mariadb : mysql);
  if (r == 0 && server_is_mariadb(job->server))
    wait_for_log(s, job->server);
  if (r == 0)
    answer_position(s, job->server);
  return r;
}

static int thaw(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  static const char *const mariadb[] = {"BACKUP STAGE END", NULL}, *const mysql[] = {"UNLOCK INSTANCE", NULL};
  return run_all(s, job->server, server_is_mariadb(job->server) ? mariadb : mysql);
}

/* ---- restore ---- */

static int restore_begin(struct umbra_writer_session *s, const struct instance *i) {
  for (char **directory = i->directories; *directory; directory++) {
    CLEANUP_FREE char *path = umbra_writer_restore_path(s, *directory);
    if (!path)
      return umbra_writer_fail(s, -ENOMEM, "finding where the files come back to");
    pid_t pid = service_process_in(path, instance_programs);
    if (pid != 0 && (!i->unit || !service_stop(i->unit) || service_process_in(path, instance_programs) != 0))
      return umbra_writer_fail(s, -EBUSY, "process %d serves '%s': end it first", (int)pid, path);
  }
  return 0;
}

/* A server without users or network starts on the files, recovers them, and ends. Its settings are not known there.
 */
static int recover(struct umbra_writer_session *s, const struct instance *i, const char *path) {
  char data[PATH_MAX + 16], temporary[PATH_MAX + 16], pages[64], log[PATH_MAX + 32];
  (void)snprintf(data, sizeof data, "--datadir=%s", path);
  /* Where we have ours its user may not be allowed to go. */
  (void)snprintf(temporary, sizeof temporary, "--tmpdir=%s", path);
  (void)snprintf(pages, sizeof pages, "--innodb-page-size=%.16s", i->page_size);
  (void)snprintf(log, sizeof log, "--log-error=%s/umbra-recovery.err", path);
  uid_t user = geteuid() == 0 && !service_user_reaches(i->user, i->group, path) ? (uid_t)-1 : i->user;
  const char *const as_root = user == (uid_t)-1 ? "--user=root" : NULL;
  int status = -ENOENT;
  for (const char *const *program = instance_programs; *program && status == -ENOENT; program++)
    status = service_run(
        user, i->group,
        (const char *const[]){*program, "--no-defaults", data, temporary, pages, log, "--bootstrap", as_root, NULL});
  if (status == -ENOENT) {
    umbra_writer_answer(s, "recovery", "not tried: no server is installed");
    return 0;
  }
  umbra_writer_answer(s, "recovery", status == 0 ? "ok" : "failed");
  return status == 0
             ? 0
             : umbra_writer_fail(s, -EBADMSG, "'%s' cannot be recovered: see %s/umbra-recovery.err", path, path);
}

static int restore_end(struct umbra_writer_session *s, const struct instance *i) {
  CLEANUP_FREE char *path = umbra_writer_restore_path(s, i->directories[0]);
  if (!path)
    return umbra_writer_fail(s, -ENOMEM, "finding where the files came back to");
  /* In its place it has its own settings, and recovers when it starts. */
  if (umbra_writer_restores_elsewhere(s))
    return i->directories[1] ? 0 : recover(s, i, path);
  if (i->unit && service_is_managed() && !service_start(i->unit))
    return umbra_writer_fail(s, -EIO, "'%s' does not start again: see its log", i->unit);
  return 0;
}

static int restoring(struct umbra_writer_session *s,
                     int (*work)(struct umbra_writer_session *s, const struct instance *i)) {
  struct umbra_error err = {0};
  struct instance i;
  int r = instance_from_key(umbra_writer_key(s), umbra_writer_instance_name(s), &i, &err);
  r = r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : work(s, &i);
  instance_done(&i);
  return r;
}

static int pre_restore(struct umbra_writer_session *s) { return restoring(s, restore_begin); }
static int post_restore(struct umbra_writer_session *s) { return restoring(s, restore_end); }

static const struct umbra_writer writer = {
    .name = "mariadb",
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
