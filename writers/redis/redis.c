/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writer for Redis and Valkey: an instance a server.  With an append-only file clients' writes pause while volumes
 * are held, when all that was acknowledged is in it; without one, the last save before is what the shadow copy has.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "umbra/writer.h"
#include "writers/redis/instance.h"
#include "writers/redis/restore.h"
#include "writers/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
  REWRITE_WAIT_S = 120, /* for the end of a rewrite of the append-only file, before anybody is frozen */
  SAVE_WAIT_S = 300,    /* for a save, before anybody is frozen */
  SAVE_AGAIN_MS = 300,  /* a save that took no longer is made once more while clients are paused */
  SAVE_FROZEN_MS = 2000,
  WRITTEN_WAIT_MS = 4000, /* the server puts writing off for up to 2 s while the disk is busy */
  POLL_MS = 2,
};

struct job {
  struct instance instance;
  struct server *server;
  bool quick; /* saving takes no longer than SAVE_AGAIN_MS */
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
  CLEANUP_FREE char *key = instance_key(i), *append = NULL;
  if (!key || (i->append_directory && asprintf(&append, "%s/%s", i->directory, i->append_directory) < 0))
    return -ENOMEM;
  umbra_writer_instance_set_key(one, key);
  umbra_writer_instance_set_process(one, i->pid, i->unit);
  umbra_writer_instance_set_restore(one, "stop-restore-start", i->unit);
  const char *const names[] = {i->rdb, i->appends && !append ? i->append_file : NULL, i->cluster_file};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (names[k])
      umbra_writer_instance_add_files(one, "data", i->directory, names[k], 0);
  if (append && i->appends)
    umbra_writer_instance_add_files(one, "data", append, "*", 0);
  /* What a save or a rewrite under way leaves is nothing's beginning. */
  umbra_writer_instance_add_direct_exclude(one, "data", i->directory, "temp-*.rdb");
  umbra_writer_instance_add_direct_exclude(one, "data", i->directory, "temp-*.aof");
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

static void sleep_ms(int ms) {
  const struct timespec pause = {.tv_nsec = ms * NS_PER_MS};
  (void)nanosleep(&pause, NULL);
}

/* Until no rewrite is under way. One that does not end is no failure yet. */
static int wait_for_rewrite(struct job *job, struct umbra_error *err) {
  int64_t deadline_ns = clock_monotonic_ns() + REWRITE_WAIT_S * NS_PER_S;
  struct server_state state;
  for (;;) {
    int r = server_state(job->server, &state, err);
    if (r < 0 || !state.rewrites || clock_monotonic_ns() >= deadline_ns)
      return r;
    sleep_ms(100);
  }
}

static int save_before(struct job *job, struct umbra_error *err) {
  int64_t begin_ns = clock_monotonic_ns();
  struct server_state state;
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/%s", job->instance.directory, job->instance.rdb);
  int r = server_state(job->server, &state, err);
  if (r < 0 || (state.changes == 0 && state.last_save_ok && access(path, F_OK) == 0))
    return r;
  r = server_save(job->server, begin_ns + SAVE_WAIT_S * NS_PER_S, err);
  job->quick = r == 0 && clock_monotonic_ns() - begin_ns <= SAVE_AGAIN_MS * NS_PER_MS;
  return r;
}

static int prepare_snapshot(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  int r = job->instance.appends ? wait_for_rewrite(job, &err) : save_before(job, &err);
  return r < 0 ? umbra_writer_fail(s, r == -ETIMEDOUT ? -EAGAIN : r, "%s", err.message) : 0;
}

/* What the server has written, on the disk: not all that makes shadow copies flushes what nobody has asked for. */
static int sync_log(const struct instance *i, struct umbra_error *err) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/%s", i->directory,
                 i->append_directory ? i->append_directory : i->append_file);
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return error_errno(err, "opening '%s'", path);
  if (!i->append_directory) {
    int r = fdatasync(fd) < 0 ? error_errno(err, "syncing '%s'", path) : 0;
    (void)close(fd);
    return r;
  }
  CLEANUP_CLOSEDIR DIR *dir = fdopendir(fd);
  int r = 0;
  for (const struct dirent *e; dir && r == 0 && (e = readdir(dir));) {
    struct stat st;
    if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
      continue;
    CLEANUP_CLOSE int file = openat(dirfd(dir), e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file >= 0 && fdatasync(file) < 0)
      r = error_errno(err, "syncing '%s/%s'", path, e->d_name);
  }
  return r;
}

/* Clients are paused: until all that was acknowledged is in the file. */
static int finish_log(struct umbra_writer_session *s, struct job *job, struct umbra_error *err) {
  int64_t deadline_ns = clock_monotonic_ns() + WRITTEN_WAIT_MS * NS_PER_MS;
  struct server_state state;
  for (;;) {
    int r = server_state(job->server, &state, err);
    if (r < 0)
      return r;
    if (state.buffer_bytes == 0 || state.replica)
      break;
    if (clock_monotonic_ns() >= deadline_ns)
      return error_set(err, -EAGAIN, UMBRA_REASON_WRITER_RETRY,
                       "the server does not write %" PRId64 " bytes to its append-only file", state.buffer_bytes);
    sleep_ms(POLL_MS);
  }
  /* Its files change names at the end of it: seen at one instant they fit each other, at several they may not. */
  if (state.rewrites && !umbra_writer_set_is_whole(s))
    return error_set(err, -EAGAIN, UMBRA_REASON_WRITER_RETRY, "the server is rewriting its append-only file");
  if (state.replica)
    umbra_writer_answer(s, "replica", "what its master sends goes on");
  return sync_log(&job->instance, err);
}

/* Clients are paused. Where that takes too long, what was saved before is what there is. */
static int save_again(struct umbra_writer_session *s, struct job *job, struct umbra_error *err) {
  struct server_state state;
  int r = server_state(job->server, &state, err);
  if (r == 0 && state.changes > 0)
    r = server_save(job->server, clock_monotonic_ns() + SAVE_FROZEN_MS * NS_PER_MS, err);
  if (r == 0)
    umbra_writer_answer(s, "saved", "at freeze");
  return r == -ETIMEDOUT ? 0 : r;
}

static int freeze(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  if (!job->instance.appends && !job->quick) {
    umbra_writer_answer(s, "saved", "before freeze");
    return 0;
  }
  int r = server_pause(job->server, &err);
  if (r == -EOPNOTSUPP && (!job->instance.appends || umbra_writer_set_is_whole(s))) {
    umbra_writer_answer(s, "pause", "not possible before Redis 6.2");
    return 0;
  }
  if (r == 0)
    r = job->instance.appends ? finish_log(s, job, &err) : save_again(s, job, &err);
  if (r < 0) {
    (void)server_resume(job->server, NULL);
    return umbra_writer_fail(s, r, "%s", err.message);
  }
  return 0;
}

static int thaw(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  int r = server_resume(job->server, &err);
  if (r == -ETIMEDOUT && umbra_writer_set_is_whole(s)) {
    umbra_writer_answer(s, "pause", "ended before the thaw");
    return 0;
  }
  return r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : 0;
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
    .name = "redis",
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
