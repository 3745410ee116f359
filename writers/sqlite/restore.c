/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/sqlite/restore.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"
#include "writers/sqlite/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* sqlite.org/tempfiles.html */
static const char *const suffixes[] = {"-wal", "-shm", "-journal", NULL};

struct user {
  char **paths;
  pid_t pid;        /* has one of them open */
  const char *used; /* that one */
};

static int find_user(const struct descriptor *d, void *context) {
  struct user *u = context;
  struct statx file;
  for (char **path = u->paths; path && *path; path++) {
    if (statx(AT_FDCWD, *path, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &file) < 0 ||
        file.stx_ino != d->status.stx_ino || file.stx_dev_major != d->status.stx_dev_major ||
        file.stx_dev_minor != d->status.stx_dev_minor)
      continue;
    u->pid = d->pid;
    u->used = *path;
    return 1;
  }
  return 0;
}

static int places(struct umbra_writer_session *s, const struct databases *all, char ***ret) {
  for (size_t i = 0; i < all->count; i++) {
    char *path = umbra_writer_restore_path(s, all->list[i].database.path);
    if (!path || strv_append_take(ret, path) < 0)
      return umbra_writer_fail(s, -ENOMEM, "finding where databases come back to");
  }
  return 0;
}

/* A new place may lie where only root can go: then nobody else can plant anything there either. */
static bool owner_reaches(const struct databases *all, char *const *paths) {
  bool reaches = setegid(all->group) == 0 && seteuid(all->user) == 0;
  for (; reaches && paths && *paths; paths++)
    reaches = faccessat(AT_FDCWD, *paths, R_OK | W_OK, AT_EACCESS) == 0 || errno == ENOENT;
  if (seteuid(0) < 0 || setegid(0) < 0)
    abort();
  return reaches;
}

static int become_owner(struct umbra_writer_session *s, const struct databases *all, char *const *paths) {
  if (geteuid() != 0 || !owner_reaches(all, paths))
    return 0;
  int r = umbra_writer_become(all->user, all->group);
  return r < 0 ? umbra_writer_fail(s, r, "becoming user %u", (unsigned)all->user) : 0;
}

static int set_aside(struct umbra_writer_session *s, const char *path) {
  for (const char *const *suffix = suffixes; *suffix; suffix++) {
    CLEANUP_FREE char *name = NULL, *aside = NULL;
    if (asprintf(&name, "%s%s", path, *suffix) < 0 || asprintf(&aside, "%s.old", name) < 0)
      return umbra_writer_fail(s, -ENOMEM, "setting aside what is beside '%s'", path);
    if (rename(name, aside) < 0 && errno != ENOENT)
      return umbra_writer_fail(s, -errno, "renaming '%s': %s", name, strerror(errno));
  }
  return 0;
}

int restore_begin(struct umbra_writer_session *s, const struct databases *all) {
  CLEANUP_STRV char **paths = NULL;
  int r = places(s, all, &paths);
  if (r < 0)
    return r;
  struct user user = {.paths = paths};
  r = descriptors_walk(find_user, &user);
  if (r < 0)
    return umbra_writer_fail(s, r, "looking for processes that have the databases open");
  if (r > 0)
    return umbra_writer_fail(s, -EBUSY, "'%s' is open in process %d: end it first", user.used, (int)user.pid);
  r = become_owner(s, all, paths);
  for (char **path = paths; r == 0 && path && *path; path++)
    if (!database_settle(*path))
      r = set_aside(s, *path);
  return r;
}

int restore_end(struct umbra_writer_session *s, const struct databases *all) {
  CLEANUP_STRV char **paths = NULL;
  int r = places(s, all, &paths);
  if (r == 0)
    r = become_owner(s, all, paths);
  if (r < 0)
    return r;
  for (char **path = paths; path && *path; path++) {
    struct umbra_error err = {0};
    if (access(*path, F_OK) < 0 && errno == ENOENT)
      continue;
    int checked = database_check(*path, &err);
    CLEANUP_JSON json_t *name = json_path(*path);
    umbra_writer_answer(s, json_string_value(name), checked < 0 ? err.message : "ok");
    if (checked < 0)
      r = umbra_writer_fail(s, checked, "%s", err.message);
  }
  return r;
}
