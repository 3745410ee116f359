/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/access.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "coordinator/catalog.h"
#include "volume/table.h"
#include "volume/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { USER_GROUPS_MAX = 1024 };

/* Opens a directory with the user's own rights. Only effective ids change, so that they can be changed back. */
static int open_as(uid_t user, const char *path) {
  const struct passwd *entry = getpwuid(user);
  gid_t groups[USER_GROUPS_MAX];
  int count = USER_GROUPS_MAX, fd = -EACCES;
  if (!entry || getgrouplist(entry->pw_name, entry->pw_gid, groups, &count) < 0)
    return -EACCES;
  if (setgroups((size_t)count, groups) < 0 || setegid(entry->pw_gid) < 0 || seteuid(user) < 0)
    fd = -EPERM;
  else if ((fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)) < 0)
    fd = -errno;
  /* What cannot be root again must not go on. */
  if (seteuid(0) < 0 || setegid(0) < 0 || setgroups(0, NULL) < 0)
    _exit(EXIT_FAILURE);
  return fd;
}

/* Is what the user has opened the root of this volume, as it was when the shadow copy was made? */
static int same_volume(int fd, const char *mount_point, const json_t *made, bool whole, struct umbra_error *err) {
  struct volume_table *table = NULL;
  const struct volume *volume = NULL;
  struct stat opened, there;
  CLEANUP_FREE char *key = NULL, *fs_root = NULL;
  int r = volume_table_load(&table, err);
  if (r >= 0)
    r = volume_table_lookup(table, mount_point, &volume, NULL, err);
  if (r >= 0)
    r = json_path_value(json_object_get(made, "key"), &key);
  if (r >= 0)
    r = json_path_value(json_object_get(made, "fs_root"), &fs_root);
  /* An image mounted is all of it: not only what lies below the part that is mounted here. */
  const json_t *view = json_object_get(json_object_get(made, "record"), "view");
  bool more =
      r >= 0 && whole && strcmp(fs_root, "/") != 0 && strcmp(json_get_string_or(view, "kind", ""), "image") == 0;
  if (r >= 0 && (strcmp(volume->key, key) != 0 || strcmp(volume->mount_point, mount_point) != 0 || more ||
                 fstat(fd, &opened) < 0 || stat(mount_point, &there) < 0 || opened.st_dev != there.st_dev ||
                 opened.st_ino != there.st_ino))
    r = error_set(err, -EACCES, UMBRA_REASON_ACCESS, "volume '%s' is not mounted as it was", mount_point);
  volume_table_free(table);
  return r;
}

int access_may_see(const struct directories *directories, const char *shadow_id, uid_t user, bool whole,
                   struct umbra_error *err) {
  CLEANUP_JSON json_t *entries = NULL;
  CLEANUP_FREE char *mount_point = NULL;
  json_t *entry = NULL, *shadow;
  const char *found = NULL;
  int r = catalog_load(directories->state_dir, &entries, NULL, err);
  if (r >= 0)
    r = catalog_find(entries, shadow_id, &entry, &found, err);
  if (r < 0)
    return r;
  size_t i;
  json_array_foreach(json_object_get(json_object_get(entry, "set"), "shadows"), i, shadow) {
    if (found && strcmp(json_get_string_or(shadow, "id", ""), found) == 0)
      (void)json_path_value(json_object_get(shadow, "volume"), &mount_point);
  }
  if (!mount_point)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "no shadow copy '%s'", shadow_id);
  CLEANUP_CLOSE int fd = open_as(user, mount_point);
  if (fd < 0)
    return error_set(err, -EACCES, UMBRA_REASON_ACCESS, "user %u cannot read '%s' himself", (unsigned)user,
                     mount_point);
  return same_volume(fd, mount_point, json_object_get(json_object_get(entry, "records"), found), whole, err);
}

/* setfacl -m u:UID:rx. Source: linux/posix_acl_xattr.h; entries in the order of acl(5). */
static int let_in(int fd, uid_t user) {
  struct {
    struct posix_acl_xattr_header header;
    struct posix_acl_xattr_entry entries[5];
  } acl = {
      .header.a_version = htole32(POSIX_ACL_XATTR_VERSION),
      .entries = {{htole16(ACL_USER_OBJ), htole16(ACL_READ | ACL_WRITE | ACL_EXECUTE),
                   htole32((uint32_t)ACL_UNDEFINED_ID)},
                  {htole16(ACL_USER), htole16(ACL_READ | ACL_EXECUTE), htole32(user)},
                  {htole16(ACL_GROUP_OBJ), 0, htole32((uint32_t)ACL_UNDEFINED_ID)},
                  {htole16(ACL_MASK), htole16(ACL_READ | ACL_EXECUTE), htole32((uint32_t)ACL_UNDEFINED_ID)},
                  {htole16(ACL_OTHER), 0, htole32((uint32_t)ACL_UNDEFINED_ID)}},
  };
  return fsetxattr(fd, "system.posix_acl_access", &acl, sizeof acl, 0) < 0 ? -errno : 0;
}

/* A directory of root's, made if it is not there. The descriptor, or negative errno. */
static int enter(int parent_fd, const char *name, mode_t mode) {
  if (mkdirat(parent_fd, name, mode) < 0 && errno != EEXIST)
    return -errno;
  int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  return fd < 0 ? -errno : fd;
}

int access_user_directory(const struct directories *directories, const char *shadow_id, uid_t user, char **ret,
                          int *ret_lock, struct umbra_error *err) {
  char number[16];
  (void)snprintf(number, sizeof number, "%u", (unsigned)user);
  CLEANUP_CLOSE int runtime = fd_open_directory(directories->runtime_dir);
  CLEANUP_CLOSE int users = runtime < 0 ? runtime : enter(runtime, "users", 0711);
  if (users < 0 || flock(users, LOCK_EX) < 0)
    return error_code(err, users < 0 ? users : -errno, "opening '%s/users'", directories->runtime_dir);
  /* All that is in it is closed by itself. */
  if (fchmod(runtime, 0711) < 0 || fchmod(users, 0711) < 0)
    return error_errno(err, "opening '%s' for users", directories->runtime_dir);
  CLEANUP_CLOSE int own = enter(users, number, 0700);
  int r = own < 0 ? own : let_in(own, user);
  if (r >= 0 && mkdirat(own, shadow_id, 0700) < 0 && errno != EEXIST)
    r = -errno;
  if (r < 0)
    return error_code(err, r, "making a directory for user %u in '%s/users'", (unsigned)user,
                      directories->runtime_dir);
  if (asprintf(ret, "%s/users/%s/%s", directories->runtime_dir, number, shadow_id) < 0) {
    *ret = NULL;
    return error_code(err, -ENOMEM, "mounting");
  }
  *ret_lock = take_fd(&users);
  return 0;
}

void access_tidy(const struct directories *directories) {
  CLEANUP_CLOSE int runtime = fd_open_directory(directories->runtime_dir);
  int users = runtime < 0 ? -1 : openat(runtime, "users", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  CLEANUP_CLOSEDIR DIR *all = users >= 0 && flock(users, LOCK_EX) == 0 ? fdopendir(users) : NULL;
  if (users >= 0 && !all)
    (void)close(users);
  struct dirent *user, *shadow;
  while (all && (user = readdir(all))) {
    int fd = user->d_name[0] != '.'
                 ? openat(dirfd(all), user->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
                 : -1;
    CLEANUP_CLOSEDIR DIR *own = fd >= 0 ? fdopendir(fd) : NULL;
    /* A mount point is busy, and stays. */
    while (own && (shadow = readdir(own)))
      if (shadow->d_name[0] != '.')
        (void)unlinkat(dirfd(own), shadow->d_name, AT_REMOVEDIR);
    if (own)
      (void)unlinkat(dirfd(all), user->d_name, AT_REMOVEDIR);
  }
}
