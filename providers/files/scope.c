/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which paths of the volume are wanted, and the order in which paths are walked. */
#include "providers/files/scope.h"

#include "common/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int path_compare(const char *a, size_t a_length, const char *b, size_t b_length) {
  size_t shorter = a_length < b_length ? a_length : b_length;
  for (size_t i = 0; i < shorter; i++) {
    unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
    if (x == y)
      continue;
    if (x == '/')
      return -1;
    if (y == '/')
      return 1;
    return x < y ? -1 : 1;
  }
  return a_length == b_length ? 0 : a_length < b_length ? -1 : 1;
}

static int compare_entries(const void *a, const void *b) {
  const char *x = *(char *const *)a, *y = *(char *const *)b;
  return path_compare(x, strlen(x), y, strlen(y));
}

/* True if path is ancestor itself or lies below it. */
static bool is_below(const char *path, size_t length, const char *ancestor, size_t ancestor_length) {
  if (ancestor_length == 0)
    return true;
  return length >= ancestor_length && memcmp(path, ancestor, ancestor_length) == 0 &&
         (length == ancestor_length || path[ancestor_length] == '/');
}

/* The part of an absolute path below the mount point; NULL if it lies elsewhere. */
static const char *below_mount_point(const char *path, const char *mount_point) {
  size_t length = strlen(mount_point);
  while (length > 0 && mount_point[length - 1] == '/')
    length--;
  if (strncmp(path, mount_point, length) != 0 || (path[length] != '/' && path[length] != 0))
    return NULL;
  path += length;
  while (*path == '/')
    path++;
  return path;
}

int scope_init(struct scope *scope, char *const *paths, const char *mount_point, struct umbra_error *err) {
  *scope = (struct scope){0};
  if (!paths)
    return 0;
  for (; *paths; paths++) {
    const char *below = below_mount_point(*paths, mount_point);
    if (!below) {
      scope_done(scope);
      return error_set(err, -EXDEV, UMBRA_REASON_INVALID, "'%s' is not on the volume at '%s'", *paths, mount_point);
    }
    if (strv_append(&scope->paths, below) < 0) {
      scope_done(scope);
      return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "noting the paths of the shadow copy");
    }
    char *added = scope->paths[strv_count(scope->paths) - 1];
    for (size_t n = strlen(added); n > 0 && added[n - 1] == '/'; n--)
      added[n - 1] = 0;
  }
  scope->count = strv_count(scope->paths);
  if (scope->count > 1)
    qsort(scope->paths, scope->count, sizeof *scope->paths, compare_entries);
  size_t kept = 0;
  for (size_t i = 0; i < scope->count; i++) {
    const char *last = kept ? scope->paths[kept - 1] : NULL;
    if (last && is_below(scope->paths[i], strlen(scope->paths[i]), last, strlen(last)))
      free(scope->paths[i]);
    else
      scope->paths[kept++] = scope->paths[i];
  }
  if (scope->paths)
    scope->paths[kept] = NULL;
  scope->count = kept;
  return 0;
}

void scope_done(struct scope *scope) {
  strv_free(scope->paths);
  *scope = (struct scope){0};
}

enum scope_place scope_place(const struct scope *scope, const char *path, size_t length) {
  if (!scope->paths)
    return SCOPE_INSIDE;
  /* The first wanted path not before this one: itself or something below; the one before may contain it. */
  size_t low = 0, high = scope->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (path_compare(scope->paths[middle], strlen(scope->paths[middle]), path, length) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  if (low < scope->count) {
    const char *next = scope->paths[low];
    size_t next_length = strlen(next);
    if (next_length == length && memcmp(next, path, length) == 0)
      return SCOPE_INSIDE;
    if (is_below(next, next_length, path, length))
      return SCOPE_WAY;
  }
  if (low > 0 && is_below(path, length, scope->paths[low - 1], strlen(scope->paths[low - 1])))
    return SCOPE_INSIDE;
  return SCOPE_OUTSIDE;
}
