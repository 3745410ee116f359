/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that writers do not want in the shadow copy (AddExcludeFilesFromSnapshot of the answered system): removed
 * from it after the writers have repaired theirs, before it turns read-only.  Nothing is followed: what a writer
 * names leads nowhere but into its volume's shadow copy.  As there it is a best effort: what cannot be removed is
 * warned of, and the set is no worse for it.
 */
#include "coordinator/set.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXCLUDE_DEPTH_MAX = 256 /* of directories below a file set's: a descriptor each */ };

struct removal {
  const struct coordinator *coordinator;
  const char *pattern;
  bool recursive;
};

static int open_below(int root_fd, const char *path) {
  struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
  int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
  return fd < 0 ? -errno : fd;
}

static bool is_directory(int fd, const struct dirent *entry) {
  struct stat st;
  if (entry->d_type != DT_UNKNOWN)
    return entry->d_type == DT_DIR;
  return fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Owns directory_fd. The first failure; all else goes all the same. */
static int remove_in(const struct removal *how, int directory_fd, unsigned depth) {
  DIR *directory = fdopendir(directory_fd);
  int result = directory ? 0 : -errno;
  if (!directory)
    (void)close(directory_fd);
  for (struct dirent *entry; directory && !coordinator_cancelled(how->coordinator) && (entry = readdir(directory));) {
    int r = 0;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    if (!is_directory(dirfd(directory), entry)) {
      if (fnmatch(how->pattern, entry->d_name, 0) == 0 && unlinkat(dirfd(directory), entry->d_name, 0) < 0)
        r = -errno;
    } else if (how->recursive) {
      int below_fd = depth < EXCLUDE_DEPTH_MAX ? open_below(dirfd(directory), entry->d_name) : -ENAMETOOLONG;
      r = below_fd < 0 ? below_fd : remove_in(how, below_fd, depth + 1);
    }
    result = result < 0 ? result : r;
  }
  if (directory)
    (void)closedir(directory);
  return result;
}

/* Where path lies below the volume's mount point, without its first slash, or "."; NULL: elsewhere. */
static const char *below(const char *path, const char *mount_point) {
  size_t length = strcmp(mount_point, "/") == 0 ? 0 : strlen(mount_point);
  if (strncmp(path, mount_point, length) != 0 || (path[length] != '/' && path[length] != 0))
    return NULL;
  return path[length] && path[length + 1] ? path + length + 1 : ".";
}

/* The shadow copy that writers have before them in which path is: of the innermost mount. */
static const struct set_member *member_of(const struct set *s, const char *path) {
  const struct set_member *best = NULL;
  for (size_t i = 0; i < s->member_count; i++) {
    const struct set_member *m = &s->members[i];
    if (m->repair_mount && below(path, m->shadow.volume->mount_point) &&
        (!best || strlen(m->shadow.volume->mount_point) > strlen(best->shadow.volume->mount_point)))
      best = m;
  }
  return best;
}

/* An image shows the filesystem from its root, which need not be what the mount point shows. */
static int open_root(const struct set_member *m) {
  const char *root = m->shadow.volume->fs_root;
  CLEANUP_CLOSE int fd = fd_open_directory(m->repair_mount);
  bool image = strcmp(json_get_string_or(json_object_get(m->shadow.record, "view"), "kind", ""), "image") == 0;
  return fd < 0 || !image || strcmp(root, "/") == 0 ? take_fd(&fd) : open_below(fd, root + 1);
}

static int drop_file_set(const struct set *s, const json_t *set) {
  CLEANUP_FREE char *path = NULL;
  if (json_path_value(json_object_get(set, "path"), &path) < 0)
    return 0;
  const struct set_member *m = member_of(s, path);
  if (!m)
    return 0;
  CLEANUP_CLOSE int root_fd = open_root(m);
  int fd = root_fd < 0 ? root_fd : open_below(root_fd, below(path, m->shadow.volume->mount_point));
  const struct removal how = {.coordinator = s->coordinator,
                              .pattern = json_get_string_or(set, "pattern", "*"),
                              .recursive = json_get_boolean_or(set, "recursive", true)};
  return fd == -ENOENT ? 0 : fd < 0 ? fd : remove_in(&how, fd, 0);
}

static void drop_of_writer(const struct set *s, const struct writer *w) {
  size_t i, k;
  const json_t *component, *set;
  json_array_foreach(json_object_get(w->metadata, "components"), i, component) {
    json_array_foreach(json_object_get(component, "shadow_excludes"), k, set) {
      int r = drop_file_set(s, set);
      if (r < 0)
        coordinator_warn(s->coordinator,
                         "writer '%s': what it does not want in the shadow copy is still there ('%s'): %s", w->name,
                         json_get_string_or(set, "path", ""), strerror(-r));
    }
  }
}

bool writer_has_shadow_excludes(const struct writer *w) {
  size_t i;
  const json_t *component;
  json_array_foreach(json_object_get(w->metadata, "components"), i, component) {
    if (json_array_size(json_object_get(component, "shadow_excludes")) > 0)
      return true;
  }
  return false;
}

void set_drop_excluded(const struct set *s) {
  for (size_t i = 0; i < s->writer_count; i++)
    if (s->writers[i]->involved && !writer_failed(s->writers[i]))
      drop_of_writer(s, s->writers[i]);
}
