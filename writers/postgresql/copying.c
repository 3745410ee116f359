/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The events of a set. See copying.h and DESIGN.md. */
#include "writers/postgresql/copying.h"

#include "writers/postgresql/cluster.h"
#include "writers/postgresql/config.h"
#include "writers/postgresql/connection.h"
#include "writers/postgresql/owner.h"
#include "writers/postgresql/segment.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * As much of the log is replayed within a second or two; more is not left to the copy's recovery.  A checkpoint is
 * not for nothing: after it each page goes whole into the log again when it is first changed.
 */
enum { REPLAY_BYTES_MAX = 64 * 1024 * 1024 };
enum { VERSION_LOWEST = 100000, VERSION_OF_BACKUP_START = 150000 };

enum way { WAY_STOPPED, WAY_INSTANT, WAY_BACKUP };

struct copying {
  struct cluster cluster;
  struct cluster_paths paths;
  bool spread; /* over several volumes: what is missing may be put into the shadow copy as root */
  PGconn *connection;
  enum way way;
  bool archived, stopped; /* WAY_BACKUP: the log goes to an archive; pg_backup_stop() has been called */
  uint32_t timeline;
  uint64_t segment_bytes, start, stop;
  char *label, *tablespaces; /* as pg_backup_stop() gave them */
};

static void copying_free(struct copying *c) {
  PQfinish(c->connection);
  cluster_free(&c->cluster);
  cluster_paths_free(&c->paths);
  free(c->label);
  free(c->tablespaces);
  free(c);
}

/* Of the session; NULL, which has been said, after an abort: that comes by itself when thaw does not come in time. */
static struct copying *copying_of(struct umbra_writer_session *s) {
  struct copying *c = umbra_writer_userdata(s);
  if (!c)
    (void)umbra_writer_fail(s, -ECANCELED, "what was begun has been aborted");
  return c;
}

/* With the connection the server ends what was begun on it: backup mode and the replication slot. */
int copying_end(struct umbra_writer_session *s) {
  struct copying *c = umbra_writer_userdata(s);
  umbra_writer_set_userdata(s, NULL);
  if (c)
    copying_free(c);
  return 0;
}

/* What identify named decided what is in the set; what has come since may not be. */
static int same_places(struct umbra_writer_session *s, const struct copying *c) {
  struct cluster_paths now;
  int r = cluster_paths(c->cluster.data_directory, &now);
  if (r < 0)
    return umbra_writer_fail(s, r, "finding the files of '%s': %s", c->cluster.data_directory, strerror(-r));
  bool same = now.count == c->paths.count;
  for (size_t i = 0; i < now.count && same; i++)
    same = cluster_paths_contain(&c->paths, now.list[i].path);
  cluster_paths_free(&now);
  return same ? 0
              : umbra_writer_fail(s, -EAGAIN, "a tablespace has come or gone while cluster %s was copied",
                                  c->cluster.name);
}

/* ---- prepare-backup ---- */

static int look(struct umbra_writer_session *s, struct copying *c, const struct config *config) {
  int r = cluster_find(config, umbra_writer_instance_name(s), umbra_writer_key(s), &c->cluster);
  if (r < 0)
    return umbra_writer_fail(s, r, "looking for cluster %s: %s", umbra_writer_instance_name(s), strerror(-r));
  if (!c->cluster.exists)
    return umbra_writer_fail(s, -ENOENT, "'%s' is not there", c->cluster.data_directory);
  r = cluster_paths(c->cluster.data_directory, &c->paths);
  if (r < 0)
    return umbra_writer_fail(s, r, "finding the files of '%s': %s", c->cluster.data_directory, strerror(-r));
  c->spread = cluster_paths_spread(&c->paths);
  r = c->spread ? owner_enter(c->cluster.owner, c->cluster.group)
                : umbra_writer_become(c->cluster.owner, c->cluster.group);
  if (r < 0)
    return umbra_writer_fail(s, r, "becoming user %u: %s", (unsigned)c->cluster.owner, strerror(-r));
  c->way = c->cluster.postmaster > 0 ? WAY_INSTANT : WAY_STOPPED;
  return c->way == WAY_STOPPED ? 0 : connection_open(s, &c->cluster, config, &c->connection);
}

int copying_prepare_backup(struct umbra_writer_session *s) {
  struct config config;
  (void)copying_end(s);
  struct copying *c = calloc(1, sizeof *c);
  if (!c)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  umbra_writer_set_userdata(s, c);
  int r = config_load(&config);
  if (r >= 0)
    r = look(s, c, &config);
  config_free(&config);
  if (r < 0)
    (void)copying_end(s);
  return r;
}

/* ---- prepare-snapshot ---- */

#define LSN_NOW "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END"

enum column { VERSION, RECOVERING, FSYNC, FULL_PAGES, ARCHIVE, SEGMENT, TIMELINE, REPLAY, CHECKSUMS, SYSTEM_ID };
static const char state_of_server[] =
    "SELECT current_setting('server_version_num'), pg_is_in_recovery(), current_setting('fsync'),"
    " current_setting('full_page_writes'), current_setting('archive_mode'),"
    " pg_size_bytes(current_setting('wal_segment_size')), timeline_id,"
    " pg_wal_lsn_diff(" LSN_NOW ", redo_lsn)::bigint, current_setting('data_checksums'),"
    " (SELECT system_identifier FROM pg_control_system()) FROM pg_control_checkpoint()";

static bool is(const PGresult *result, enum column column, const char *value) {
  return strcmp(PQgetvalue(result, 0, (int)column), value) == 0;
}

static int begin_backup(struct umbra_writer_session *s, struct copying *c, const PGresult *state) {
  CLEANUP_RESULT PGresult *slot = NULL, *start = NULL;
  char name[64] = "umbra_";
  if (is(state, RECOVERING, "t"))
    return umbra_writer_fail(s, -EOPNOTSUPP,
                             "a standby can only be copied at one instant, with all of its volumes in the set");
  if (atoi(PQgetvalue(state, 0, VERSION)) < VERSION_OF_BACKUP_START)
    return umbra_writer_fail(s, -EOPNOTSUPP, "PostgreSQL before 15 can only be copied at one instant");
  /* The connection's own: keeps the log from here on until it is copied. Without a free one it must not be recycled
   * by luck. */
  for (const char *id = umbra_writer_set_id(s); *id && strlen(name) < sizeof name - 1; id++)
    name[strlen(name)] = isalnum((unsigned char)*id) ? *id : '_';
  static const char keep[] = "SELECT pg_create_physical_replication_slot($1, true, true)";
  slot = PQexecParams(c->connection, keep, 1, NULL, (const char *const[]){name}, NULL, NULL, 0);
  int r = connection_row(s, c->connection, "SELECT pg_backup_start($1, fast => true)", name, &start);
  if (r >= 0 && segment_parse_lsn(PQgetvalue(start, 0, 0), &c->start) < 0)
    r = umbra_writer_fail(s, -EPROTO, "pg_backup_start() answered '%s'", PQgetvalue(start, 0, 0));
  return r;
}

static void tell_way(struct umbra_writer_session *s, const struct copying *c, const PGresult *state) {
  static const char *const ways[] = {[WAY_STOPPED] = "stopped", [WAY_INSTANT] = "instant", [WAY_BACKUP] = "backup"};
  umbra_writer_answer(s, ANSWER_WAY, ways[c->way]);
  if (!state)
    return;
  umbra_writer_answer(s, "server_version_num", PQgetvalue(state, 0, VERSION));
  umbra_writer_answer(s, "system_identifier", PQgetvalue(state, 0, SYSTEM_ID));
  umbra_writer_answer(s, "data_checksums", PQgetvalue(state, 0, CHECKSUMS));
  umbra_writer_answer(s, ANSWER_TIMELINE, PQgetvalue(state, 0, TIMELINE));
  umbra_writer_answer(s, ANSWER_SEGMENT_BYTES, PQgetvalue(state, 0, SEGMENT));
}

int copying_prepare_snapshot(struct umbra_writer_session *s) {
  struct copying *c = copying_of(s);
  CLEANUP_RESULT PGresult *state = NULL;
  if (!c)
    return -ECANCELED;
  if (c->way == WAY_STOPPED) {
    tell_way(s, c, NULL);
    return 0;
  }
  int r = connection_row(s, c->connection, state_of_server, NULL, &state);
  if (r < 0)
    return r;
  if (atoi(PQgetvalue(state, 0, VERSION)) < VERSION_LOWEST)
    return umbra_writer_fail(s, -EOPNOTSUPP, "PostgreSQL before 10 is not supported");
  c->archived = !is(state, ARCHIVE, "off");
  c->timeline = (uint32_t)strtoul(PQgetvalue(state, 0, TIMELINE), NULL, 10);
  c->segment_bytes = strtoull(PQgetvalue(state, 0, SEGMENT), NULL, 10);
  /* What a crash leaves is recovered only from a server that orders its writes, and logs whole pages. */
  bool instant = umbra_writer_set_is_whole(s) && is(state, FSYNC, "on") && is(state, FULL_PAGES, "on");
  c->way = instant ? WAY_INSTANT : WAY_BACKUP;
  r = connection_do(s, c->connection, "SET statement_timeout = '" CONNECTION_CHECKPOINT_LIMIT "'");
  if (r >= 0 && !instant)
    r = begin_backup(s, c, state);
  if (r >= 0 && instant && strtoll(PQgetvalue(state, 0, REPLAY), NULL, 10) > REPLAY_BYTES_MAX)
    r = connection_do(s, c->connection, "CHECKPOINT");
  if (r >= 0)
    r = connection_do(s, c->connection, "SET statement_timeout = '" CONNECTION_STATEMENT_LIMIT "'");
  if (r >= 0)
    tell_way(s, c, state);
  return r;
}

/* ---- freeze, thaw ---- */

/* A cluster that does not run is copied as it lies there, as long as it does not run. */
static int still_stopped(struct umbra_writer_session *s, const struct copying *c) {
  if (cluster_postmaster(c->cluster.data_directory) == 0 || umbra_writer_set_is_whole(s))
    return same_places(s, c);
  return umbra_writer_fail(s, -EAGAIN, "cluster %s was started while it was copied", c->cluster.name);
}

/*
 * Nothing is stopped: what the server writes from now on is either in the copy as a whole or not, or recovered over.
 * That the server answers shows that it has not crashed since.
 */
int copying_freeze(struct umbra_writer_session *s) {
  struct copying *c = copying_of(s);
  CLEANUP_RESULT PGresult *lsn = NULL;
  if (!c)
    return -ECANCELED;
  if (c->way == WAY_STOPPED)
    return still_stopped(s, c);
  int r = connection_row(s, c->connection, "SELECT " LSN_NOW, NULL, &lsn);
  if (r < 0)
    return r;
  umbra_writer_answer(s, ANSWER_LSN, PQgetvalue(lsn, 0, 0));
  return same_places(s, c);
}

static int end_backup(struct umbra_writer_session *s, struct copying *c) {
  CLEANUP_RESULT PGresult *stop = NULL;
  int r =
      connection_row(s, c->connection,
                     "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(wait_for_archive => false)", NULL, &stop);
  if (r < 0)
    return r;
  if (segment_parse_lsn(PQgetvalue(stop, 0, 0), &c->stop) < 0 || c->stop <= c->start)
    return umbra_writer_fail(s, -EPROTO, "pg_backup_stop() answered '%s'", PQgetvalue(stop, 0, 0));
  c->label = strdup(PQgetvalue(stop, 0, 1));
  c->tablespaces = strdup(PQgetvalue(stop, 0, 2));
  if (!c->label || !c->tablespaces)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  c->stopped = true;
  char start[32];
  (void)snprintf(start, sizeof start, "%" PRIX32 "/%" PRIX32, (uint32_t)(c->start >> 32), (uint32_t)c->start);
  umbra_writer_answer(s, ANSWER_START, start);
  umbra_writer_answer(s, ANSWER_STOP, PQgetvalue(stop, 0, 0));
  umbra_writer_answer(s, ANSWER_LABEL, c->label);
  umbra_writer_answer(s, ANSWER_TABLESPACES, c->tablespaces);
  return 0;
}

int copying_thaw(struct umbra_writer_session *s) {
  struct copying *c = copying_of(s);
  if (!c)
    return -ECANCELED;
  if (c->way == WAY_STOPPED)
    return still_stopped(s, c);
  int r = c->way == WAY_BACKUP ? end_backup(s, c) : 0;
  return r < 0 ? r : same_places(s, c);
}

/* ---- post-snapshot ---- */

/*
 * The directory in the shadow copy; its mount point is root's alone. -ENOENT: it is mounted nowhere. What is done
 * inside is done as the owner again.
 */
static int open_shadow(struct umbra_writer_session *s, const struct copying *c, const char *path) {
  CLEANUP_FREE char *shadow = umbra_writer_shadow_path(s, path);
  if (!shadow)
    return -ENOENT;
  owner_leave();
  CLEANUP_CLOSE int place = open(shadow, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int r = place < 0 ? -errno : 0, entered = owner_enter(c->cluster.owner, c->cluster.group);
  if (r < 0 || entered < 0)
    return r < 0 ? r : entered;
  int fd = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int copy_log(struct umbra_writer_session *s, const struct copying *c, int data_fd) {
  const char *wal = NULL;
  for (size_t i = 0; i < c->paths.count; i++)
    if (strcmp(c->paths.list[i].component, "wal") == 0)
      wal = c->paths.list[i].path;
  CLEANUP_FREE char *live = NULL;
  if (asprintf(&live, "%s/pg_wal", c->cluster.data_directory) < 0)
    live = NULL;
  CLEANUP_CLOSE int from = live ? fd_open_directory(live) : -ENOMEM;
  CLEANUP_CLOSE int to = wal ? open_shadow(s, c, wal) : openat(data_fd, "pg_wal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct segments segments = segments_between(c->timeline, c->segment_bytes, c->start, c->stop);
  uint64_t number = segments.first;
  int r = from < 0 ? from : to < 0 ? (wal ? to : -errno) : segments_copy(&segments, from, to, &number);
  char name[SEGMENT_NAME_BYTES];
  return r < 0 ? umbra_writer_fail(s, r, "copying segment %s of the log into the shadow copy: %s",
                                   segment_name(&segments, number, name), strerror(-r))
               : 0;
}

/* Puts into the shadow copy what makes it whole: then it is recovered like any base backup. */
static int complete(struct umbra_writer_session *s, const struct copying *c, int data_fd) {
  int r = copy_log(s, c, data_fd);
  if (r < 0)
    return r;
  if (c->tablespaces[0])
    r = fd_replace_file(data_fd, "tablespace_map", c->tablespaces, strlen(c->tablespaces), 0600, true);
  if (r >= 0)
    r = fd_replace_file(data_fd, "backup_label", c->label, strlen(c->label), 0600, true);
  if (r < 0)
    return umbra_writer_fail(s, r, "writing backup_label into the shadow copy: %s", strerror(-r));
  umbra_writer_answer(s, ANSWER_COMPLETE, "yes");
  return 0;
}

int copying_post_snapshot(struct umbra_writer_session *s) {
  struct copying *c = copying_of(s);
  int r = 0;
  if (!c)
    return -ECANCELED;
  if (c->way == WAY_BACKUP && c->stopped) {
    CLEANUP_CLOSE int data_fd = open_shadow(s, c, c->cluster.data_directory);
    if (data_fd >= 0)
      r = complete(s, c, data_fd);
    else if (data_fd != -ENOENT)
      r = umbra_writer_fail(s, data_fd, "opening the shadow copy of '%s': %s", c->cluster.data_directory,
                            strerror(-data_fd));
    else if (!c->archived)
      r = umbra_writer_fail(
          s, -EOPNOTSUPP,
          "the copy is not of one instant, and the log that recovers it is neither archived (archive_mode)"
          " nor could be put into it: it cannot be used");
  }
  /* Copies may be looked at for days: no connection is needed for that. */
  PQfinish(c->connection);
  c->connection = NULL;
  return r;
}
