/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories from the root down to the one used last stay open: records come in tree order, so the next path mostly
 * shares them.  See restore-tree.h.
 */
#include "backup/restore-tree.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

struct level {
  struct directory *directory;
  size_t path_bytes; /* of the directory's path */
};

struct restore_tree {
  struct level stack[TREE_DEPTH_MAX + 1]; /* [0]: the root */
  size_t depth;                           /* of the innermost open one */
  char path[TREE_PATH_BYTES_MAX + 1];     /* whose parents are open */
  char name[TREE_NAME_BYTES_MAX + 1];
};

int restore_tree_new(const char *root, struct restore_tree **ret, struct umbra_error *err) {
  struct restore_tree *t = calloc(1, sizeof *t);
  if (!t)
    return error_code(err, -ENOMEM, "restoring to '%s'", root);
  int r = fd_make_directories(root, 0755);
  if (r < 0) {
    restore_tree_free(t);
    return error_code(err, r, "making '%s'", root);
  }
  int fd = fd_open_directory(root);
  t->stack[0].directory = fd < 0 ? NULL : directory_new(fd);
  if (!t->stack[0].directory) {
    restore_tree_free(t);
    return error_code(err, fd < 0 ? fd : -ENOMEM, "opening '%s'", root);
  }
  *ret = t;
  return 0;
}

void restore_tree_forget(struct restore_tree *t) {
  for (; t->depth > 0; t->depth--)
    directory_unref(t->stack[t->depth].directory);
  t->path[0] = '\0';
}

void restore_tree_free(struct restore_tree *t) {
  if (!t)
    return;
  restore_tree_forget(t);
  directory_unref(t->stack[0].directory);
  free(t);
}

int restore_tree_root_fd(const struct restore_tree *t) { return t->stack[0].directory->fd; }

/* Closes what is not above path. */
static void leave(struct restore_tree *t, const char *path) {
  while (t->depth > 0) {
    size_t n = t->stack[t->depth].path_bytes;
    if (strncmp(t->path, path, n) == 0 && path[n] == '/')
      return;
    directory_unref(t->stack[t->depth--].directory);
  }
}

static int open_below(const struct directory *d, const char *name, bool create) {
  int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(d->fd, name, flags);
  if (fd < 0 && errno == ENOENT && create) {
    if (mkdirat(d->fd, name, 0755) < 0 && errno != EEXIST)
      return -errno;
    fd = openat(d->fd, name, flags);
  }
  return fd < 0 ? -errno : fd;
}

int restore_tree_find(struct restore_tree *t, const char *path, bool create, struct directory **ret,
                      const char **ret_name, struct umbra_error *err) {
  leave(t, path);
  size_t at = t->stack[t->depth].path_bytes;
  at += path[at] == '/' && at > 0;
  for (;;) {
    size_t n = strcspn(path + at, "/");
    if (n > TREE_NAME_BYTES_MAX)
      return error_code(err, -ENAMETOOLONG, "'/%s'", path);
    memcpy(t->name, path + at, n);
    t->name[n] = '\0';
    if (path[at + n] == '\0')
      break;
    if (!tree_name_valid(t->name) || t->depth == TREE_DEPTH_MAX)
      return error_set(err, -EINVAL, UMBRA_REASON_DAMAGED, "'/%s' is not a path to restore to", path);
    int fd = open_below(t->stack[t->depth].directory, t->name, create);
    struct directory *d = fd < 0 ? NULL : directory_new(fd);
    if (!d)
      return error_code(err, fd < 0 ? fd : -ENOMEM, "opening directory '/%.*s' to restore '/%s'", (int)(at + n), path,
                        path);
    memcpy(t->path, path, at + n + 1);
    t->stack[++t->depth] = (struct level){.directory = d, .path_bytes = at + n};
    at += n + 1;
  }
  if (t->name[0] == '\0')
    memcpy(t->name, ".", 2);
  else if (!tree_name_valid(t->name))
    return error_set(err, -EINVAL, UMBRA_REASON_DAMAGED, "'/%s' is not a path to restore to", path);
  *ret = t->stack[t->depth].directory;
  *ret_name = t->name;
  return 0;
}
