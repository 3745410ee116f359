/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/backup-sources.h"

#include "common/cleanup.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool within(const char *path, const char *ancestor) {
  size_t n = strlen(ancestor);
  if (strcmp(ancestor, "/") == 0)
    return true;
  return strncmp(path, ancestor, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static void warn(const struct backup_listener *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(const struct backup_listener *l, const char *format, ...) {
  char message[8192];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(message, sizeof message, format, args);
  va_end(args);
  l->warning(l->userdata, message);
}

static int add_argument(struct backup_sources *s, const char *argument, const struct backup_listener *listener,
                        struct umbra_error *err) {
  CLEANUP_FREE char *path = realpath(argument, NULL);
  if (!path)
    return error_errno(err, "source '%s'", argument);
  size_t n = strlen(argument);
  while (n > 1 && argument[n - 1] == '/')
    n--;
  CLEANUP_FREE char *name = strndup(argument, n);
  char target[2];
  if (name && readlink(name, target, sizeof target) > 0)
    warn(listener, "source '%s' is a link; what it leads to is saved: '%s'", name, path);
  if (!strv_contains(s->paths, path) && strv_append(&s->paths, path) < 0)
    return error_code(err, -ENOMEM, "source '%s'", argument);
  return 0;
}

/* A volume that has something to save and can be asked for. */
static bool can_follow(struct libmnt_fs *fs) { return !mnt_fs_is_pseudofs(fs) && !mnt_fs_is_netfs(fs); }

static bool below_a_source(const struct backup_sources *s, const char *path) {
  for (size_t i = 0; s->paths && s->paths[i]; i++)
    if (strcmp(path, s->paths[i]) != 0 && within(path, s->paths[i]))
      return true;
  return false;
}

/* Mounts below the sources: followed, or named. */
static int look_at_mounts(struct backup_sources *s, struct libmnt_table *table, bool all_volumes,
                          const struct backup_listener *listener, struct umbra_error *err) {
  struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
  struct libmnt_fs *fs = NULL;
  int r = iter ? 0 : -ENOMEM;
  while (r == 0 && mnt_table_next_fs(table, iter, &fs) == 0) {
    const char *target = mnt_fs_get_target(fs);
    if (!target || !below_a_source(s, target) || strv_contains(s->paths, target))
      continue;
    if (all_volumes && can_follow(fs)) {
      r = strv_append(&s->paths, target);
      continue;
    }
    if (json_array_append_new(s->left_out, json_path(target)) < 0)
      r = -ENOMEM;
    else if (!mnt_fs_is_pseudofs(fs))
      warn(listener, "'%s' is another volume (%s) and is left out; name it as a source too, or use --all-volumes",
           target, mnt_fs_get_fstype(fs));
  }
  mnt_free_iter(iter);
  return r < 0 ? error_code(err, r, "looking at the mounts below the sources") : 0;
}

int backup_sources_find(char *const *arguments, bool all_volumes, const struct backup_listener *listener,
                        struct backup_sources *ret, struct umbra_error *err) {
  int r = 0;
  ret->left_out = json_array();
  for (; r == 0 && *arguments; arguments++)
    r = add_argument(ret, *arguments, listener, err);
  struct libmnt_table *table = r == 0 ? mnt_new_table_from_file("/proc/self/mountinfo") : NULL;
  if (r == 0 && (!table || !ret->left_out))
    r = error_code(err, -ENOMEM, "reading /proc/self/mountinfo");
  if (r == 0)
    r = look_at_mounts(ret, table, all_volumes, listener, err);
  mnt_unref_table(table);
  return r;
}

/* How the filesystem path root of a mount lies below that of another of the same device; NULL: it does not. */
static const char *root_below(struct libmnt_fs *inner, struct libmnt_fs *outer) {
  const char *root = mnt_fs_get_root(inner), *base = mnt_fs_get_root(outer);
  if (!root || !base || mnt_fs_get_devno(inner) != mnt_fs_get_devno(outer) || !within(root, base))
    return NULL;
  const char *relative = root + (strcmp(base, "/") == 0 ? 0 : strlen(base));
  while (*relative == '/')
    relative++;
  return *relative ? relative : ".";
}

int backup_sources_bind(const char *source, const char *mount_point, int root_fd, struct backup_volume *ret,
                        struct umbra_error *err) {
  struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
  if (!table)
    return error_code(err, -ENOMEM, "reading /proc/self/mountinfo");
  struct libmnt_fs *of_source = mnt_table_find_mountpoint(table, source, MNT_ITER_BACKWARD);
  struct libmnt_fs *of_volume = mnt_table_find_target(table, mount_point, MNT_ITER_BACKWARD);
  const char *relative = of_source && of_volume ? root_below(of_source, of_volume) : NULL;
  int r = 0;
  if (relative) {
    CLEANUP_CLOSE int fd = openat(root_fd, relative, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char *target = fd < 0 ? NULL : strdup(mnt_fs_get_target(of_source));
    if (fd < 0)
      r = error_errno(err, "opening '%s' in the shadow copy of '%s'", relative, mount_point);
    else if (!target)
      r = error_code(err, -ENOMEM, "source '%s'", source);
    else
      *ret = (struct backup_volume){.mount_point = target, .root_fd = take_fd(&fd)};
    r = r < 0 ? r : 1;
  }
  mnt_unref_table(table);
  return r;
}

void backup_sources_done(struct backup_sources *s) {
  strv_free(s->paths);
  json_decref(s->left_out);
  *s = (struct backup_sources){0};
}
