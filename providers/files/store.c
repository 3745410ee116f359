/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The directory a copy lies in: made, taken over from an earlier set, sealed, kept, removed. */
#include "providers/files/store.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <xxhash.h>

/* Since Linux 6.9; absent from older headers. */
#ifndef FS_IOC_GETFSUUID
struct fsuuid2 {
  uint8_t len;
  uint8_t uuid[16];
};
#define FS_IOC_GETFSUUID _IOR(0x15, 0, struct fsuuid2)
#endif

/* The identity says which filesystem, seen where, and which paths of it: with their ends, so that none runs into the
 * next. */
static int make_identity(struct table_identity *ret, const struct volume *volume, int volume_fd,
                         const struct scope *scope) {
  XXH3_state_t *state = XXH3_createState();
  if (!state)
    return -ENOMEM;
  (void)XXH3_128bits_reset(state);
  struct fsuuid2 uuid = {0};
  struct statfs fs;
  struct stat root;
  if (ioctl(volume_fd, FS_IOC_GETFSUUID, &uuid) < 0)
    memset(&uuid, 0, sizeof uuid);
  (void)XXH3_128bits_update(state, &uuid, sizeof uuid);
  if (fstatfs(volume_fd, &fs) == 0)
    (void)XXH3_128bits_update(state, &fs.f_fsid, sizeof fs.f_fsid);
  if (fstat(volume_fd, &root) == 0)
    (void)XXH3_128bits_update(state, &root.st_ino, sizeof root.st_ino);
  const char *names[] = {volume->fs_type, volume->fs_root, volume->mount_point};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    (void)XXH3_128bits_update(state, names[i], strlen(names[i]) + 1);
  for (size_t i = 0; i < scope->count; i++)
    (void)XXH3_128bits_update(state, scope->paths[i], strlen(scope->paths[i]) + 1);
  XXH128_hash_t hash = XXH3_128bits_digest(state);
  (void)XXH3_freeState(state);
  /* Everything and "the root and all below" are the same scope under two names: no harm, they only do not share a
   * store. */
  *ret = (struct table_identity){.low = hash.low64, .high = hash.high64 ^ (scope->paths != NULL)};
  return 0;
}

int store_init(struct store *s, const char *storage_dir, const char *id, const struct volume *volume, int volume_fd,
               const struct scope *scope, struct umbra_error *err) {
  *s = (struct store){.fd = -1, .tree_fd = -1, .table_fd = -1};
  int r = make_identity(&s->identity, volume, volume_fd, scope);
  if (r < 0 || asprintf(&s->path, "%s/%s", storage_dir, id) < 0 ||
      asprintf(&s->kept_path, "%s/kept-%016" PRIx64 "%016" PRIx64, storage_dir, s->identity.high, s->identity.low) <
          0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "naming the store");
  return 0;
}

void store_done(struct store *s) {
  int fds[] = {s->fd, s->tree_fd, s->table_fd};
  for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
    if (fds[i] >= 0)
      (void)close(fds[i]);
  free(s->path);
  free(s->kept_path);
  *s = (struct store){.fd = -1, .tree_fd = -1, .table_fd = -1};
}

static int open_parts(struct store *s) {
  s->fd = fd_open_directory(s->path);
  if (s->fd < 0)
    return s->fd;
  s->tree_fd = openat(s->fd, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return s->tree_fd < 0 ? -errno : 0;
}

static void close_parts(struct store *s) {
  int *fds[] = {&s->fd, &s->tree_fd, &s->table_fd};
  for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
    if (*fds[i] >= 0)
      (void)close(*fds[i]);
    *fds[i] = -1;
  }
}

/* 1: taken over; 0: there is none; negative: it is unusable, and why. */
static int take_over(struct store *s, struct umbra_error *why) {
  if (renameat2(AT_FDCWD, s->kept_path, AT_FDCWD, s->path, RENAME_NOREPLACE) < 0)
    return errno == ENOENT ? 0 : error_errno(why, "taking over the kept copy '%s'", s->kept_path);
  int r = open_parts(s);
  if (r < 0)
    return error_code(why, r, "opening the kept copy '%s'", s->kept_path);
  s->table_fd = openat(s->fd, "table", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (s->table_fd < 0)
    return error_errno(why, "opening the table of the kept copy '%s'", s->kept_path);
  struct table_totals totals;
  r = table_check(s->table_fd, &s->identity, &totals, why);
  if (r < 0)
    return r;
  /* From here on copy and table part: without its name the table says nothing to anybody after a crash. */
  if (unlinkat(s->fd, "table", 0) < 0)
    return error_errno(why, "taking over the table of the kept copy '%s'", s->kept_path);
  (void)fsync(s->fd);
  return 1;
}

int store_make(struct store *s, bool reuse, struct umbra_error *why, struct umbra_error *err) {
  error_clear(why);
  int r = reuse ? take_over(s, why) : 0;
  if (r > 0)
    return 0;
  close_parts(s);
  if (r < 0 && (r = fd_remove_tree(AT_FDCWD, s->path)) < 0)
    return error_code(err, r, "removing the unusable kept copy '%s'", s->path);
  CLEANUP_FREE char *tree = NULL;
  if (asprintf(&tree, "%s/tree", s->path) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "naming the store");
  if (mkdir(s->path, 0700) < 0 || mkdir(tree, 0700) < 0)
    return error_errno(err, "making the store '%s'", s->path);
  r = open_parts(s);
  return r < 0 ? error_code(err, r, "opening the store '%s'", s->path) : 0;
}

int store_new_table(struct store *s) {
  int fd = openat(s->fd, "table.new", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  return fd < 0 ? -errno : fd;
}

int store_take_table(struct store *s, int fd) {
  if (renameat(s->fd, "table.new", s->fd, "table") < 0)
    return -errno;
  if (s->table_fd >= 0)
    (void)close(s->table_fd);
  s->table_fd = fd;
  return 0;
}

int store_seal(struct store *s, const struct table_totals *totals, struct umbra_error *err) {
  /* Everything else first: a valid header says that the copy it describes is on the disk. */
  if (syncfs(s->fd) < 0)
    return error_errno(err, "syncing the storage '%s'", s->path);
  int r = table_seal(s->table_fd, &s->identity, totals);
  if (r >= 0 && (fsync(s->table_fd) < 0 || fsync(s->fd) < 0))
    r = -errno;
  return r < 0 ? error_code(err, r, "sealing the table of the store '%s'", s->path) : 0;
}

int store_remove(const char *path, const char *kept_path, struct umbra_error *err) {
  if (kept_path) {
    if (renameat2(AT_FDCWD, path, AT_FDCWD, kept_path, RENAME_NOREPLACE) == 0 || errno == ENOENT)
      return 0;
    /* An older one is in the way: this one is newer, so they change places and the older one goes. */
    if (errno == EEXIST && renameat2(AT_FDCWD, path, AT_FDCWD, kept_path, RENAME_EXCHANGE) < 0)
      return error_errno(err, "keeping the store '%s'", path);
  }
  int r = fd_remove_tree(AT_FDCWD, path);
  return r < 0 ? error_code(err, r, "removing the store '%s'", path) : 0;
}
