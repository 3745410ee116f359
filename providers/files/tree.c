/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening, listing and looking at directories of a tree without ever leaving it. */
#include "providers/files/tree.h"

#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From <linux/mount.h> and <fcntl.h>; glibc 2.36 has them in <sys/mount.h>, which does not go with the former. */
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

int tree_open_live(int volume_fd) {
  int fd = (int)syscall(SYS_open_tree, volume_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (fd >= 0) {
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                                MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME,
                                    .attr_clr = MOUNT_ATTR__ATIME};
    /* The mount is named by a descriptor that cannot be synced; one that can keeps it alive as well. */
    int root = syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0
                   ? openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                   : -1;
    (void)close(fd);
    if (root >= 0)
      return root;
  }
  fd = openat(volume_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

/* One call's worth: path fits PATH_MAX. */
static int open_near(int root_fd, const char *path, uint64_t flags) {
  struct open_how how = {.flags = flags | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
                         .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
  for (;;) {
    int fd = (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof how);
    if (fd >= 0 || errno != EINTR)
      return fd < 0 ? -errno : fd;
  }
}

int tree_open_directory(int root_fd, const char *path, size_t length, uint64_t flags) {
  char part[PATH_MAX];
  CLEANUP_CLOSE int step = -1;
  while (length >= sizeof part) {
    size_t cut = sizeof part - 1;
    while (cut > 0 && path[cut] != '/')
      cut--;
    if (cut == 0)
      return -ENAMETOOLONG;
    memcpy(part, path, cut);
    part[cut] = 0;
    int next = open_near(step >= 0 ? step : root_fd, part, O_PATH);
    if (next < 0)
      return next;
    if (step >= 0)
      (void)close(step);
    step = next;
    path += cut + 1;
    length -= cut + 1;
  }
  memcpy(part, path, length);
  part[length] = 0;
  return open_near(step >= 0 ? step : root_fd, part, flags);
}

int tree_open_parent(int root_fd, const char *path, size_t length, const char **ret_name) {
  size_t cut = length;
  while (cut > 0 && path[cut - 1] != '/')
    cut--;
  int fd = tree_open_directory(root_fd, path, cut > 0 ? cut - 1 : 0, O_PATH);
  if (fd >= 0)
    *ret_name = path + cut;
  return fd;
}

int tree_stat(int directory_fd, const char *name, struct statx *ret) {
  int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
  return statx(directory_fd, name, flags, STATX_BASIC_STATS | STATX_MNT_ID, ret) < 0 ? -errno : 0;
}

const char *tree_proc_path(int directory_fd, const char *name, char buffer[TREE_PROC_PATH_BYTES]) {
  /* A last "." makes it the directory and not the link in /proc. */
  (void)snprintf(buffer, TREE_PROC_PATH_BYTES, "/proc/self/fd/%d/%.255s", directory_fd, *name ? name : ".");
  return buffer;
}

struct directory_entry {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

int tree_list(int directory_fd, char *buffer, size_t buffer_bytes, tree_found found, void *context) {
  for (;;) {
    long n = syscall(SYS_getdents64, directory_fd, buffer, buffer_bytes);
    if (n < 0)
      return -errno;
    if (n == 0)
      return 0;
    for (long at = 0; at < n;) {
      const struct directory_entry *entry = (const struct directory_entry *)(const void *)(buffer + at);
      at += entry->length;
      if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
        continue;
      int r = found(context, entry->name, entry->type);
      if (r < 0)
        return r;
    }
  }
}
