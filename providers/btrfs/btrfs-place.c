/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/btrfs/btrfs-place.h"

#include "common/cleanup.h"

#include <btrfsutil.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int btrfs_place_open_below(int root_fd, const char *path) {
  struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
  return fd < 0 ? -errno : fd;
}

bool btrfs_place_contains(const char *path) {
  const size_t length = strlen(BTRFS_PLACE_NAME);
  for (const char *component = path; component; component = strchr(component, '/')) {
    component += strspn(component, "/");
    if (strncmp(component, BTRFS_PLACE_NAME, length) == 0 && (component[length] == '/' || component[length] == 0))
      return true;
  }
  return false;
}

int btrfs_place_filesystem_uuid(int fd, char ret[BTRFS_UUID_TEXT_BYTES]) {
  struct btrfs_ioctl_fs_info_args info = {0};
  if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) < 0)
    return -errno;
  char *at = ret;
  for (size_t i = 0; i < sizeof info.fsid; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      *at++ = '-';
    at += snprintf(at, 3, "%02x", info.fsid[i]);
  }
  return 0;
}

/* A place that somebody else owns or may enter would show him every file as it was, whatever its mode is now. */
static int check_private(int fd, struct umbra_error *err) {
  struct stat st;
  if (fstat(fd, &st) < 0)
    return error_errno(err, "examining '%s'", BTRFS_PLACE_NAME);
  if (st.st_uid != 0 || (st.st_mode & 077) != 0)
    return error_set(
        err, -EPERM, UMBRA_REASON_ACCESS,
        "the directory '%s' in the volume's root must belong to root and be closed to others (mode 0700): "
        "repair or remove it",
        BTRFS_PLACE_NAME);
  return 0;
}

int btrfs_place_make(int root_fd, const char *id, struct umbra_error *err) {
  if (mkdirat(root_fd, BTRFS_PLACE_NAME, 0700) < 0 && errno != EEXIST)
    return error_errno(err, "making the directory '%s' for snapshots", BTRFS_PLACE_NAME);
  CLEANUP_CLOSE int place_fd = btrfs_place_open_below(root_fd, BTRFS_PLACE_NAME);
  if (place_fd < 0)
    return error_code(err, place_fd, "opening the directory '%s' for snapshots", BTRFS_PLACE_NAME);
  int r = check_private(place_fd, err);
  if (r < 0)
    return r;
  if (mkdirat(place_fd, id, 0700) < 0)
    return error_errno(err, "making the directory '%s/%s' for snapshots", BTRFS_PLACE_NAME, id);
  int fd = btrfs_place_open_below(place_fd, id);
  return fd < 0 ? error_code(err, fd, "opening the directory '%s/%s' for snapshots", BTRFS_PLACE_NAME, id) : fd;
}

static int remove_subvolume(int directory_fd, const char *name) {
  errno = 0;
  if (btrfs_util_delete_subvolume_fd(directory_fd, name, 0) == BTRFS_UTIL_OK || errno == ENOENT)
    return 0;
  /* Somebody made subvolumes inside a writable shadow copy. */
  if (errno == ENOTEMPTY &&
      btrfs_util_delete_subvolume_fd(directory_fd, name, BTRFS_UTIL_DELETE_SUBVOLUME_RECURSIVE) == BTRFS_UTIL_OK)
    return 0;
  return errno > 0 ? -errno : -EIO;
}

/* One directory of .umbra/ID with the snapshot in it, if it came to that. */
static int remove_entry(int directory_fd, const char *name) {
  CLEANUP_CLOSE int fd = btrfs_place_open_below(directory_fd, name);
  if (fd < 0)
    return fd == -ENOENT ? 0 : fd;
  int r = remove_subvolume(fd, BTRFS_PLACE_TREE);
  if (r < 0)
    return r;
  return unlinkat(directory_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_entries(int place_fd, const char *id, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = btrfs_place_open_below(place_fd, id);
  if (fd == -ENOENT)
    return 0;
  if (fd < 0)
    return error_code(err, fd, "opening the directory '%s/%s'", BTRFS_PLACE_NAME, id);
  int list_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  CLEANUP_CLOSEDIR DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
  if (!dir) {
    int code = -errno;
    if (list_fd >= 0)
      (void)close(list_fd);
    return error_code(err, code, "listing the directory '%s/%s'", BTRFS_PLACE_NAME, id);
  }
  const struct dirent *entry;
  while ((entry = readdir(dir))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    int r = remove_entry(fd, entry->d_name);
    if (r < 0)
      return error_code(err, r, "deleting the snapshot '%s/%s/%s'", BTRFS_PLACE_NAME, id, entry->d_name);
  }
  return 0;
}

int btrfs_place_remove(int root_fd, const char *id, struct umbra_error *err) {
  CLEANUP_CLOSE int place_fd = btrfs_place_open_below(root_fd, BTRFS_PLACE_NAME);
  if (place_fd == -ENOENT)
    return 0;
  if (place_fd < 0)
    return error_code(err, place_fd, "opening the directory '%s' of snapshots", BTRFS_PLACE_NAME);
  int r = remove_entries(place_fd, id, err);
  if (r < 0)
    return r;
  if (unlinkat(place_fd, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
    return error_errno(err, "removing the directory '%s/%s'", BTRFS_PLACE_NAME, id);
  /* Other shadow copies may be in it: then it stays. */
  if (unlinkat(root_fd, BTRFS_PLACE_NAME, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY &&
      errno != EBUSY)
    return error_errno(err, "removing the directory '%s'", BTRFS_PLACE_NAME);
  return 0;
}
