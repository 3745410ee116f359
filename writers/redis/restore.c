/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/redis/restore.h"

#include "common/cleanup.h"
#include "writers/service.h"

#include <errno.h>
#include <limits.h>

int restore_begin(struct umbra_writer_session *s, const struct instance *i) {
  CLEANUP_FREE char *directory = umbra_writer_restore_path(s, i->directory);
  if (!directory)
    return umbra_writer_fail(s, -ENOMEM, "finding where the files come back to");
  pid_t pid = service_process_in(directory, instance_programs);
  if (pid == 0)
    return 0;
  if (i->unit && service_stop(i->unit) && service_process_in(directory, instance_programs) == 0)
    return 0;
  return umbra_writer_fail(s, -EBUSY, "process %d serves '%s': end it first", (int)pid, directory);
}

static int check(struct umbra_writer_session *s, const struct instance *i, const char *kind, const char *path) {
  char tool[32] = "";
  static const char *const families[] = {"redis", "valkey"};
  if (access(path, F_OK) < 0)
    return 0;
  /* Where only root can go nobody else can have put anything either. */
  uid_t user = geteuid() == 0 && !service_user_reaches(i->user, i->group, path) ? (uid_t)-1 : i->user;
  int status = -ENOENT;
  for (size_t k = 0; k < sizeof families / sizeof *families && status == -ENOENT; k++) {
    (void)snprintf(tool, sizeof tool, "%s-check-%s", families[k], kind);
    status = service_run(user, i->group, (const char *const[]){tool, path, NULL});
  }
  if (status == -ENOENT) {
    umbra_writer_answer(s, kind, "not checked: no redis-check-* is installed");
    return 0;
  }
  umbra_writer_answer(s, kind, status == 0 ? "ok" : "damaged");
  return status == 0 ? 0 : umbra_writer_fail(s, -EBADMSG, "'%s' is damaged: see %s %s", path, tool, path);
}

int restore_end(struct umbra_writer_session *s, const struct instance *i) {
  CLEANUP_FREE char *directory = umbra_writer_restore_path(s, i->directory);
  char manifest[PATH_MAX], rdb[PATH_MAX], single[PATH_MAX];
  if (!directory)
    return umbra_writer_fail(s, -ENOMEM, "finding where the files come back to");
  const char *append = i->append_file ? i->append_file : "";
  (void)snprintf(manifest, sizeof manifest, "%s/%s/%s.manifest", directory,
                 i->append_directory ? i->append_directory : "", append);
  (void)snprintf(single, sizeof single, "%s/%s", directory, append);
  (void)snprintf(rdb, sizeof rdb, "%s/%s", directory, i->rdb ? i->rdb : "");
  const char *log = i->append_directory ? manifest : single;
  /* A server that appends loads its log, whatever else there is. */
  if (!i->appends && i->append_file && access(log, F_OK) == 0)
    return umbra_writer_fail(
        s, -EEXIST, "'%s' is not of the backup, and would be loaded in place of '%s': move it away", log, rdb);
  int r = i->appends ? check(s, i, "aof", log) : 0;
  if (r == 0 && i->rdb)
    r = check(s, i, "rdb", rdb);
  if (r == 0 && i->unit && service_is_managed() && !umbra_writer_restores_elsewhere(s) && !service_start(i->unit))
    r = umbra_writer_fail(s, -EIO, "'%s' does not start again: see its log", i->unit);
  return r;
}
