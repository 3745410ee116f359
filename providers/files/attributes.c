/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owner, mode, times and extended attributes: from a live file into bytes, from bytes onto its copy. */
#include "providers/files/attributes.h"

#include "providers/files/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Before each name and value in a block. */
struct lengths {
  uint32_t name_bytes; /* with its NUL */
  uint32_t value_bytes;
};

int attributes_room_init(struct attributes_room *room) {
  *room = (struct attributes_room){.list = malloc(ATTRIBUTES_LIST_BYTES),
                                   .value = malloc(ATTRIBUTES_VALUE_BYTES_MAX),
                                   .block = malloc(ATTRIBUTES_BYTES_MAX)};
  if (!room->list || !room->value || !room->block) {
    attributes_room_done(room);
    return -ENOMEM;
  }
  return 0;
}

void attributes_room_done(struct attributes_room *room) {
  free(room->list);
  free(room->value);
  free(room->block);
  *room = (struct attributes_room){0};
}

/* Filesystems without any are fine: nothing is there. */
static ssize_t list_names(struct attributes_room *room, const char *path) {
  ssize_t n = llistxattr(path, room->list, ATTRIBUTES_LIST_BYTES - 1);
  if (n < 0)
    return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
  room->list[n] = 0;
  return n;
}

int attributes_read(struct attributes_room *room, int directory_fd, const char *name) {
  char path[TREE_PROC_PATH_BYTES];
  (void)tree_proc_path(directory_fd, name, path);
  ssize_t list_bytes = list_names(room, path);
  if (list_bytes <= 0)
    return (int)list_bytes;
  size_t used = 0;
  for (const char *at = room->list; at < room->list + list_bytes; at += strlen(at) + 1) {
    struct lengths lengths = {.name_bytes = (uint32_t)strlen(at) + 1};
    if (used + sizeof lengths + lengths.name_bytes + ATTRIBUTES_VALUE_BYTES_MAX > ATTRIBUTES_BYTES_MAX)
      return -E2BIG;
    char *to = room->block + used;
    ssize_t n = lgetxattr(path, at, to + sizeof lengths + lengths.name_bytes, ATTRIBUTES_VALUE_BYTES_MAX);
    if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
      continue; /* gone since it was listed, or listed by name only */
    if (n < 0)
      return -errno;
    lengths.value_bytes = (uint32_t)n;
    memcpy(to, &lengths, sizeof lengths);
    memcpy(to + sizeof lengths, at, lengths.name_bytes);
    used += sizeof lengths + lengths.name_bytes + lengths.value_bytes;
  }
  return (int)used;
}

/* The value of a name in a block, or NULL. */
static const char *find_value(const char *block, size_t block_bytes, const char *name, uint32_t *ret_bytes) {
  for (size_t at = 0; at < block_bytes;) {
    struct lengths lengths;
    memcpy(&lengths, block + at, sizeof lengths);
    at += sizeof lengths;
    if (strcmp(block + at, name) == 0) {
      *ret_bytes = lengths.value_bytes;
      return block + at + lengths.name_bytes;
    }
    at += lengths.name_bytes + lengths.value_bytes;
  }
  return NULL;
}

/* The families every backup must bring back. Others (system.nfs4_acl, btrfs.compression) are kept where the storage
 * can. */
static bool must_keep(const char *name) {
  return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0 ||
         strncmp(name, "system.posix_acl_", 17) == 0;
}

static int apply_extended(struct attributes_room *room, const char *path, const char *block, size_t block_bytes,
                          struct umbra_error *err) {
  ssize_t list_bytes = list_names(room, path);
  if (list_bytes < 0)
    return error_code(err, (int)list_bytes, "listing extended attributes in the storage");
  for (const char *at = room->list; list_bytes > 0 && at < room->list + list_bytes; at += strlen(at) + 1) {
    uint32_t value_bytes;
    if (find_value(block, block_bytes, at, &value_bytes))
      continue;
    /* A label that the storage's own policy puts there cannot be taken off; it is none of the file's. */
    if (lremovexattr(path, at) < 0 && errno != ENODATA && strncmp(at, "security.", 9) != 0 && must_keep(at))
      return error_errno(err, "removing the extended attribute '%s' in the storage", at);
  }
  for (size_t at = 0; at < block_bytes;) {
    struct lengths lengths;
    memcpy(&lengths, block + at, sizeof lengths);
    const char *name = block + at + sizeof lengths, *value = name + lengths.name_bytes;
    at += sizeof lengths + lengths.name_bytes + lengths.value_bytes;
    if (lsetxattr(path, name, value, lengths.value_bytes, 0) < 0 && (must_keep(name) || errno == ENOSPC))
      return error_errno(err, "the storage cannot hold the extended attribute '%s'", name);
  }
  return 0;
}

int attributes_apply(struct attributes_room *room, int directory_fd, const char *name, const struct statx *sx,
                     const char *block, size_t block_bytes, struct umbra_error *err) {
  char path[TREE_PROC_PATH_BYTES];
  (void)tree_proc_path(directory_fd, name, path);
  const char *target = *name ? name : ".";
  /* Owner first: changing it drops set-user-ID bits and capabilities. Mode before ACLs, which set its group bits. */
  if (fchownat(directory_fd, target, sx->stx_uid, sx->stx_gid, AT_SYMLINK_NOFOLLOW) < 0)
    return error_errno(err, "setting the owner in the storage");
  if (!S_ISLNK(sx->stx_mode) && fchmodat(directory_fd, target, sx->stx_mode & 07777, 0) < 0)
    return error_errno(err, "setting the mode in the storage");
  int r = apply_extended(room, path, block, block_bytes, err);
  if (r < 0)
    return r;
  struct timespec times[2] = {{.tv_sec = sx->stx_atime.tv_sec, .tv_nsec = sx->stx_atime.tv_nsec},
                              {.tv_sec = sx->stx_mtime.tv_sec, .tv_nsec = sx->stx_mtime.tv_nsec}};
  if (utimensat(directory_fd, target, times, AT_SYMLINK_NOFOLLOW) < 0)
    return error_errno(err, "setting the times in the storage");
  return 0;
}

int attributes_set_mtime(int directory_fd, const char *name, struct statx_timestamp mtime) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime.tv_sec, .tv_nsec = mtime.tv_nsec}};
  return utimensat(directory_fd, *name ? name : ".", times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}
