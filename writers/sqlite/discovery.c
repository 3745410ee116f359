/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/sqlite/discovery.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/strv.h"
#include "writers/sqlite/descriptors.h"
#include "writers/sqlite/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <search.h>
#include <string.h>
#include <sys/sysmacros.h>

static const char header[16] = "SQLite format 3"; /* with its NUL: sqlite.org/fileformat.html, 1.3.1 */
enum { PAGE_BYTES_MIN = 512 };

struct looking {
  struct discovery *found;
  char **listed, **excluded; /* patterns */
  struct lock *locks;
  size_t lock_count;
  void *seen; /* tree of struct inode: files that were looked at */
};

struct inode {
  dev_t device;
  ino_t inode;
};

static int compare_inodes(const void *a, const void *b) {
  const struct inode *x = a, *y = b;
  if (x->device != y->device)
    return x->device < y->device ? -1 : 1;
  return x->inode == y->inode ? 0 : x->inode < y->inode ? -1 : 1;
}

static bool was_seen(struct looking *l, const struct statx *file) {
  const struct inode one = {makedev(file->stx_dev_major, file->stx_dev_minor), file->stx_ino};
  return tfind(&one, &l->seen, compare_inodes);
}

/* Remembers the file. 1 if it is a new one, 0 if not, or negative. */
static int see(struct looking *l, const struct statx *file) {
  struct inode *one = malloc(sizeof *one);
  if (!one)
    return -ENOMEM;
  *one = (struct inode){makedev(file->stx_dev_major, file->stx_dev_minor), file->stx_ino};
  struct inode **place = tsearch(one, &l->seen, compare_inodes);
  if (place && *place == one)
    return 1;
  free(one);
  return place ? 0 : -ENOMEM;
}

static bool same_inode(const struct stat *a, const struct statx *b) {
  return a->st_ino == b->stx_ino && a->st_dev == makedev(b->stx_dev_major, b->stx_dev_minor);
}

static bool size_fits(unsigned long long bytes) { return bytes >= PAGE_BYTES_MIN && bytes % PAGE_BYTES_MIN == 0; }

/*
 * Under /proc/PID/fd may be files of servers that are gone; to open one would hang. They cannot hold a database that
 * several machines write anyway (sqlite.org/howtocorrupt.html, 2.1).
 */
static bool is_remote(pid_t pid, const char *path) {
  static const char *const remote[] = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "fuse", NULL};
  char name[64], line[PATH_MAX + 512], found[64] = "";
  size_t best = 0;
  (void)snprintf(name, sizeof name, "/proc/%d/mountinfo", (int)pid);
  CLEANUP_FCLOSE FILE *file = fopen(name, "re");
  while (file && fgets(line, sizeof line, file)) {
    char at[PATH_MAX], type[64];
    const char *separator = strstr(line, " - ");
    if (!separator || sscanf(line, "%*s %*s %*s %*s %4095s", at) != 1 || sscanf(separator, " - %63s", type) != 1)
      continue;
    size_t length = strcmp(at, "/") == 0 ? 0 : strlen(at);
    /* Of several at one place the last is on top. */
    if (strncmp(path, at, length) == 0 && path[length] == '/' && length >= best) {
      best = length;
      (void)snprintf(found, sizeof found, "%s", type);
    }
  }
  if (strncmp(found, "fuse.", 5) == 0)
    return true;
  for (size_t i = 0; remote[i]; i++)
    if (strcmp(found, remote[i]) == 0)
      return true;
  return false;
}

/* Opens a file of which it is known that it is a regular one and that nobody has a lease on it. */
static bool has_header(const char *path, struct stat *ret) {
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  char begin[sizeof header];
  return fd >= 0 && fstat(fd, ret) == 0 && S_ISREG(ret->st_mode) && fd_pread_all(fd, begin, sizeof begin, 0) == 0 &&
         memcmp(begin, header, sizeof header) == 0;
}

/*
 * The files beside a database are opened by their names.  Where somebody else may put a symbolic link there, the
 * owner of the database is not made to open it.
 */
static bool directory_is_trusted(const char *path, const struct stat *file) {
  struct stat directory;
  CLEANUP_FREE char *parent = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
  if (!parent || stat(parent, &directory) < 0)
    return false;
  if (directory.st_uid != 0 && directory.st_uid != file->st_uid)
    return false;
  if ((directory.st_mode & S_IWGRP) && directory.st_gid != file->st_gid && !(directory.st_mode & S_ISVTX))
    return false;
  return !(directory.st_mode & S_IWOTH) || (directory.st_mode & S_ISVTX);
}

static bool is_excluded(const struct looking *l, const char *path) {
  for (char **pattern = l->excluded; pattern && *pattern; pattern++)
    if (fnmatch(*pattern, path, 0) == 0)
      return true;
  return false;
}

static int add(struct looking *l, const char *path, const struct stat *file) {
  if (is_excluded(l, path))
    return 0;
  if (!directory_is_trusted(path, file)) {
    log_warning("sqlite: '%s' is left alone: others may write to its directory", path);
    return 0;
  }
  struct discovery *s = l->found;
  if (s->count == SQLITE_DATABASES_MAX)
    return -E2BIG;
  if (!s->list && !(s->list = calloc(SQLITE_DATABASES_MAX, sizeof *s->list)))
    return -ENOMEM;
  char *copy = strdup(path);
  if (!copy)
    return -ENOMEM;
  s->list[s->count++] = (struct found){copy, file->st_uid, file->st_gid, file->st_dev, file->st_ino};
  return 0;
}

static int look_at(const struct descriptor *d, void *context) {
  struct looking *l = context;
  struct statx here;
  struct stat file;
  if (!d->read || !d->write || !size_fits(d->status.stx_size) || was_seen(l, &d->status) ||
      is_remote(d->pid, d->path))
    return 0;
  /* A container's path is another file here, or none. */
  if (statx(AT_FDCWD, d->path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &here) < 0 || !S_ISREG(here.stx_mode) ||
      here.stx_ino != d->status.stx_ino || here.stx_dev_major != d->status.stx_dev_major ||
      here.stx_dev_minor != d->status.stx_dev_minor)
    return 0;
  int r = see(l, &here);
  if (r <= 0)
    return r;
  if (locks_have_lease(l->locks, l->lock_count, &here) || !has_header(d->path, &file) || !same_inode(&file, &here))
    return 0;
  return add(l, d->path, &file);
}

static int take_listed(struct looking *l, const char *name) {
  CLEANUP_FREE char *path = realpath(name, NULL);
  struct statx here;
  struct stat file;
  if (!path || statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &here) < 0 || !S_ISREG(here.stx_mode))
    return 0;
  int r = see(l, &here);
  if (r <= 0)
    return r;
  return has_header(path, &file) && same_inode(&file, &here) ? add(l, path, &file) : 0;
}

static int expand_listed(struct looking *l, struct umbra_error *err) {
  for (char **pattern = l->listed; pattern && *pattern; pattern++) {
    glob_t names = {0};
    int r = glob(*pattern, 0, NULL, &names) == GLOB_NOSPACE ? -ENOMEM : 0;
    for (size_t i = 0; r == 0 && i < names.gl_pathc; i++)
      r = take_listed(l, names.gl_pathv[i]);
    globfree(&names);
    if (r < 0)
      return error_code(err, r, "looking for '%s'", *pattern);
  }
  return 0;
}

/* One path or pattern a line; ! before it: none of these; # before it: a comment. */
static int read_conf(const char *config_dir, struct looking *l, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL, *text = NULL;
  if (asprintf(&path, "%s/writers/sqlite.conf", config_dir) < 0)
    return error_code(err, -ENOMEM, "reading sqlite.conf");
  size_t length;
  int r = fd_read_file(AT_FDCWD, path, SQLITE_CONF_BYTES_MAX, &text, &length);
  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return error_code(err, r, "reading '%s'", path);
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    line += strspn(line, " \t");
    for (size_t end = strlen(line); end > 0 && strchr(" \t\r", line[end - 1]);)
      line[--end] = '\0';
    bool excludes = line[0] == '!';
    if (line[0] == '\0' || line[0] == '#')
      continue;
    if (line[excludes] != '/' && line[excludes] != '*')
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s': '%s' is not an absolute path", path, line);
    r = strv_append(excludes ? &l->excluded : &l->listed, line + excludes);
    if (r < 0)
      return error_code(err, r, "reading '%s'", path);
  }
  return 0;
}

static int compare_found(const void *a, const void *b) {
  const struct found *x = a, *y = b;
  if (x->user != y->user)
    return x->user < y->user ? -1 : 1;
  if (x->group != y->group)
    return x->group < y->group ? -1 : 1;
  return strcmp(x->path, y->path);
}

static int look(const char *config_dir, struct looking *l, struct umbra_error *err) {
  int r = read_conf(config_dir, l, err);
  if (r < 0)
    return r;
  r = locks_read(&l->locks, &l->lock_count);
  if (r < 0)
    return error_code(err, r, "reading /proc/locks");
  r = expand_listed(l, err);
  if (r < 0)
    return r;
  r = descriptors_walk(look_at, l);
  if (r < 0)
    return error_code(err, r, "looking for databases that are open");
  return 0;
}

int discover_databases(const char *config_dir, struct discovery *ret, struct umbra_error *err) {
  *ret = (struct discovery){0};
  struct looking l = {.found = ret};
  int r = look(config_dir, &l, err);
  if (r == -E2BIG)
    r = error_set(err, r, UMBRA_REASON_LIMIT,
                  "more than %d databases, or %d open files: list fewer, or leave some out with !PATTERN",
                  SQLITE_DATABASES_MAX, DESCRIPTORS_MAX);
  tdestroy(l.seen, free);
  strv_free(l.listed);
  strv_free(l.excluded);
  free(l.locks);
  if (r < 0) {
    discovery_done(ret);
    return r;
  }
  if (ret->count > 0)
    qsort(ret->list, ret->count, sizeof *ret->list, compare_found);
  return 0;
}

void discovery_done(struct discovery *s) {
  for (size_t i = 0; i < s->count; i++)
    free(s->list[i].path);
  free(s->list);
  *s = (struct discovery){0};
}
