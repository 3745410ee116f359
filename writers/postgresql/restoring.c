/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The events of a restore. See restoring.h and DESIGN.md. */
#include "writers/postgresql/restoring.h"

#include "writers/postgresql/aside.h"
#include "writers/postgresql/cluster.h"
#include "writers/postgresql/connection.h"
#include "writers/postgresql/copying.h"
#include "writers/postgresql/owner.h"
#include "writers/postgresql/place.h"
#include "writers/postgresql/segment.h"
#include "writers/postgresql/unit.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { RECOVERY_LIMIT_S = 540, RECOVERY_POLL_MS = 200, ASIDE_BYTES = 64, FILE_BYTES_MAX = 1024 * 1024 };

struct restoring {
  struct config config;
  struct cluster cluster; /* as it is found now */
};

static void restoring_done(struct restoring *r) {
  cluster_free(&r->cluster);
  config_free(&r->config);
}
#define CLEANUP_RESTORING __attribute__((cleanup(restoring_done)))

static int look(struct umbra_writer_session *s, struct restoring *r) {
  int code = config_load(&r->config);
  if (code >= 0)
    code = cluster_find(&r->config, umbra_writer_instance_name(s), umbra_writer_key(s), &r->cluster);
  return code < 0 ? umbra_writer_fail(s, code, "looking for cluster %s: %s", umbra_writer_instance_name(s),
                                      strerror(-code))
                  : 0;
}

static int refuse_running(struct umbra_writer_session *s, const char *directory) {
  pid_t pid = cluster_postmaster(directory);
  return pid == 0 ? 0
                  : umbra_writer_fail(s, -EBUSY,
                                      "process %d serves '%s': stop it first (pg_ctl -D '%s' stop, as its user)",
                                      (int)pid, directory, directory);
}

static bool is_tablespace(const struct cluster_path *p) {
  return strncmp(p->component, "tablespace", strlen("tablespace")) == 0;
}

/* Moves a place's files aside, or back, as the one whom it belongs to. A place that is not there has none. */
static int move_one(const struct cluster_path *place, const char *name, bool back) {
  struct stat st;
  if (stat(place->path, &st) < 0)
    return errno == ENOENT ? 0 : -errno;
  int r = owner_enter(st.st_uid, st.st_gid);
  if (r >= 0)
    r = back ? aside_move_back(place->path, name, is_tablespace(place))
             : aside_move(place->path, name, is_tablespace(place));
  owner_leave();
  return back && r == -ENOENT ? 0 : r;
}

/* ---- pre-restore ---- */

static int move_all_aside(struct umbra_writer_session *s, const struct cluster_paths *places) {
  char name[ASIDE_BYTES], now[CLOCK_TEXT_BYTES];
  (void)snprintf(name, sizeof name, ASIDE_PREFIX "%.19s", clock_format(clock_realtime_ns(), now));
  for (size_t i = 0; i < places->count; i++) {
    int code = move_one(&places->list[i], name, false);
    if (code >= 0)
      continue;
    while (i-- > 0)
      (void)move_one(&places->list[i], name, true);
    return umbra_writer_fail(s, code, "moving aside what is where the files come back to: %s", strerror(-code));
  }
  umbra_writer_answer(s, "moved_to", name);
  return 0;
}

static int make_room(struct umbra_writer_session *s, const struct cluster_paths *places) {
  CLEANUP_FREE char *directory = umbra_writer_restore_path(s, umbra_writer_key(s));
  int code = directory ? refuse_running(s, directory) : umbra_writer_fail(s, -ENOMEM, "out of memory");
  return code < 0 ? code : move_all_aside(s, places);
}

static int stop_and_make_room(struct umbra_writer_session *s, const struct cluster_paths *places) {
  CLEANUP_RESTORING struct restoring r = {0};
  int code = look(s, &r);
  if (code < 0)
    return code;
  bool stops = unit_active(r.cluster.unit);
  if (stops && unit_stop(r.cluster.unit) < 0)
    return umbra_writer_fail(s, -EIO, "systemctl stop %s failed", r.cluster.unit);
  code = make_room(s, places);
  if (code < 0 && stops)
    (void)unit_start(r.cluster.unit);
  return code;
}

int restoring_pre_restore(struct umbra_writer_session *s) {
  struct cluster_paths places;
  bool whole;
  int code = place_list(s, &places, &whole);
  if (code < 0)
    return code;
  if (umbra_writer_restores_elsewhere(s))
    code = whole ? make_room(s, &places) : 0; /* somebody looks for a file */
  else if (whole)
    code = stop_and_make_room(s, &places);
  else
    code =
        umbra_writer_fail(s, -EINVAL, "a cluster is restored as a whole: restore %s of it, or files elsewhere (--to)",
                          places.count > 1 ? "all places" : "all");
  cluster_paths_free(&places);
  return code;
}

/* ---- post-restore: files ---- */

/* Nothing of it has come back, so that the restore has failed: what was there before is put back. */
static int put_back(struct umbra_writer_session *s, const struct restoring *r, const struct cluster_paths *places) {
  char name[ASIDE_BYTES];
  const char *directory = r->cluster.data_directory;
  if (!aside_find(directory, name, sizeof name))
    return umbra_writer_fail(s, -ENOENT, "'%s/global/pg_control' has not come back", directory);
  for (size_t i = 0; i < places->count; i++) {
    int code = move_one(&places->list[i], name, true);
    if (code < 0)
      return umbra_writer_fail(s, code, "'%s/global/pg_control' has not come back; moving back '%s/%s': %s",
                               directory, places->list[i].path, name, strerror(-code));
  }
  bool starts =
      !umbra_writer_restores_elsewhere(s) && unit_known(r->cluster.unit) && unit_start(r->cluster.unit) >= 0;
  return umbra_writer_fail(s, -ENOENT, "nothing came back to '%s': what was there before is there again%s", directory,
                           starts ? " and started" : "");
}

/* A base backup whose label and log are not in it: the label is known, the log has to come from the archive. */
static int add_label(struct umbra_writer_session *s, int data_fd) {
  const char *label = umbra_writer_saved_answer(s, "thaw", ANSWER_LABEL);
  const char *tablespaces = umbra_writer_saved_answer(s, "thaw", ANSWER_TABLESPACES);
  const char *start = umbra_writer_saved_answer(s, "thaw", ANSWER_START),
             *stop = umbra_writer_saved_answer(s, "thaw", ANSWER_STOP);
  const char *timeline = umbra_writer_saved_answer(s, "prepare-snapshot", ANSWER_TIMELINE);
  const char *bytes = umbra_writer_saved_answer(s, "prepare-snapshot", ANSWER_SEGMENT_BYTES);
  uint64_t from, to, size_bytes = bytes ? strtoull(bytes, NULL, 10) : 0;
  if (!label || !start || !stop || !timeline || size_bytes == 0 || segment_parse_lsn(start, &from) < 0 ||
      segment_parse_lsn(stop, &to) < 0 || to <= from)
    return umbra_writer_fail(s, -EBADMSG, "the backup lacks the writer's answers: this is no whole base backup");
  int code = fd_replace_file(data_fd, "backup_label", label, strlen(label), 0600, true);
  if (code >= 0 && tablespaces && tablespaces[0])
    code = fd_replace_file(data_fd, "tablespace_map", tablespaces, strlen(tablespaces), 0600, true);
  if (code < 0)
    return umbra_writer_fail(s, code, "writing backup_label: %s", strerror(-code));
  struct segments log = segments_between((uint32_t)strtoul(timeline, NULL, 10), size_bytes, from, to);
  char first[SEGMENT_NAME_BYTES], last[SEGMENT_NAME_BYTES];
  return umbra_writer_fail(
      s, -ENODATA,
      "not started: it needs segments %s to %s of the log from the archive: set restore_command and"
      " make recovery.signal in the data directory, then start it",
      segment_name(&log, log.first, first), segment_name(&log, log.last, last));
}

/* As the owner of what has come back. */
static int finish_files(struct umbra_writer_session *s, const char *directory) {
  CLEANUP_CLOSE int data_fd = fd_open_directory(directory);
  if (data_fd < 0)
    return umbra_writer_fail(s, data_fd, "opening '%s': %s", directory, strerror(-data_fd));
  const char *way = umbra_writer_saved_answer(s, "prepare-snapshot", ANSWER_WAY);
  bool incomplete =
      way && strcmp(way, "backup") == 0 && !umbra_writer_saved_answer(s, "post-snapshot", ANSWER_COMPLETE);
  /* The map is written first: it, too, names places. */
  int labelled = incomplete ? add_label(s, data_fd) : 0;
  int moved = umbra_writer_restores_elsewhere(s) ? place_move(s, data_fd) : 0;
  return moved < 0 ? moved : labelled;
}

/* ---- post-restore: recovery ---- */

static int wait_for_server(struct umbra_writer_session *s, struct restoring *r, PGconn **ret) {
  int64_t by_ns = clock_monotonic_ns() + RECOVERY_LIMIT_S * NS_PER_S;
  int code;
  do {
    code = cluster_look(&r->cluster);
    if (code >= 0)
      code = r->cluster.postmaster == 0
                 ? umbra_writer_fail(s, -ECONNREFUSED, "unit %s has no server running", r->cluster.unit)
                 : connection_open(s, &r->cluster, &r->config, ret);
    if (code != -EAGAIN)
      return code;
    (void)poll(NULL, 0, RECOVERY_POLL_MS);
  } while (clock_monotonic_ns() < by_ns);
  return umbra_writer_fail(s, -ETIMEDOUT, "recovery has not ended within %d s", RECOVERY_LIMIT_S);
}

static int report_recovery(struct umbra_writer_session *s, PGconn *connection) {
  static const char statement[] = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
                                  " ELSE pg_current_wal_flush_lsn() END, timeline_id FROM pg_control_checkpoint()";
  CLEANUP_RESULT PGresult *now = NULL;
  const char *promised = umbra_writer_saved_answer(s, "freeze", ANSWER_LSN);
  uint64_t reached_lsn = 0, promised_lsn = 0;
  int code = connection_row(s, connection, statement, NULL, &now);
  if (code < 0)
    return code;
  const char *reached = PQgetvalue(now, 0, 0), *timeline = PQgetvalue(now, 0, 1);
  if (promised && segment_parse_lsn(promised, &promised_lsn) >= 0 && segment_parse_lsn(reached, &reached_lsn) >= 0 &&
      reached_lsn < promised_lsn)
    return umbra_writer_fail(s, -EIO, "recovery ended at %s, before %s, where the log was when the copy was made",
                             reached, promised);
  CLEANUP_FREE char *message = NULL;
  if (asprintf(&message, "recovered up to %s on timeline %s%s%s", reached, timeline,
               promised ? "; the copy was made at " : "", promised ? promised : "") < 0) {
    message = NULL;
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  }
  umbra_writer_answer(s, "message", message);
  umbra_writer_answer(s, ANSWER_LSN, reached);
  umbra_writer_answer(s, ANSWER_TIMELINE, timeline);
  return 0;
}

static int start(struct umbra_writer_session *s, struct restoring *r) {
  PGconn *connection = NULL;
  if (unit_start(r->cluster.unit) < 0)
    return umbra_writer_fail(s, -EIO, "systemctl start %s failed: see its journal", r->cluster.unit);
  int code = umbra_writer_become(r->cluster.owner, r->cluster.group);
  if (code < 0)
    return umbra_writer_fail(s, code, "becoming user %u: %s", (unsigned)r->cluster.owner, strerror(-code));
  code = wait_for_server(s, r, &connection);
  if (code >= 0)
    code = report_recovery(s, connection);
  PQfinish(connection);
  return code;
}

static int tell_to_start(struct umbra_writer_session *s, const char *directory) {
  const char *promised = umbra_writer_saved_answer(s, "freeze", ANSWER_LSN);
  CLEANUP_FREE char *message = NULL;
  if (asprintf(&message, "'%s' is ready; starting it (pg_ctl -D '%s' start, as its user) recovers %s%s%s", directory,
               directory, promised ? "up to " : "it", promised ? promised : "", promised ? " at least" : "") < 0) {
    message = NULL;
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  }
  umbra_writer_answer(s, "message", message);
  return 0;
}

/* 1: it has come back, 0: not, negative: nobody knows. As its owner. */
static int has_control_file(struct umbra_writer_session *s, const char *directory) {
  CLEANUP_CLOSE int fd = fd_open_directory(directory);
  if (fd < 0)
    return umbra_writer_fail(s, fd, "opening '%s' as its owner: %s", directory, strerror(-fd));
  return faccessat(fd, "global/pg_control", R_OK, AT_SYMLINK_NOFOLLOW | AT_EACCESS) == 0;
}

/* What has come back is looked at, which is not the cluster that runs when it comes back elsewhere. */
static int look_at_place(struct umbra_writer_session *s, struct restoring *r) {
  int code = look(s, r);
  char *directory = umbra_writer_restore_path(s, umbra_writer_key(s));
  if (code >= 0 && !directory)
    code = umbra_writer_fail(s, -ENOMEM, "out of memory");
  if (code < 0) {
    free(directory);
    return code;
  }
  free(r->cluster.data_directory);
  r->cluster.data_directory = directory;
  code = cluster_look(&r->cluster);
  if (code < 0 || !r->cluster.exists)
    return umbra_writer_fail(s, code < 0 ? code : -ENOENT, "'%s' has not come back", directory);
  return refuse_running(s, directory);
}

static int finish(struct umbra_writer_session *s, const struct cluster_paths *places) {
  CLEANUP_RESTORING struct restoring r = {0};
  int code = look_at_place(s, &r);
  if (code < 0)
    return code;
  const char *directory = r.cluster.data_directory;
  code = owner_enter(r.cluster.owner, r.cluster.group);
  if (code < 0)
    return umbra_writer_fail(s, code, "becoming user %u: %s", (unsigned)r.cluster.owner, strerror(-code));
  int back = has_control_file(s, directory);
  code = back > 0 ? finish_files(s, directory) : back;
  owner_leave();
  if (code < 0)
    return code;
  if (back == 0)
    return put_back(s, &r, places);
  return !umbra_writer_restores_elsewhere(s) && unit_known(r.cluster.unit) ? start(s, &r)
                                                                           : tell_to_start(s, directory);
}

int restoring_post_restore(struct umbra_writer_session *s) {
  struct cluster_paths places;
  bool whole;
  int code = place_list(s, &places, &whole);
  if (code < 0)
    return code;
  code = whole ? finish(s, &places) : 0;
  cluster_paths_free(&places);
  return code;
}
