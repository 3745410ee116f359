/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/cow/inside.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "cow/serve/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ASK_TIMES_MAX = 3 };

/* Kept from everybody who writes, removes, cuts, moves or links files, and from dump(8). */
static int set_kept(int fd, bool on) {
  const int kept = FS_IMMUTABLE_FL | FS_NODUMP_FL;
  int flags = 0;
  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
    return -errno;
  flags = on ? flags | kept : flags & ~kept;
  return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? -errno : 0;
}

/* Not what is mounted over it: that lies in another place, or on another device. */
static int open_it(int root_fd) {
  struct open_how how = {.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV};
  return (int)syscall(SYS_openat2, root_fd, COW_INSIDE_NAME, &how, sizeof how);
}

/* Only a file that nobody else can have made. */
static int check_file(int fd, struct umbra_error *err) {
  struct stat st;
  if (fstat(fd, &st) < 0)
    return error_errno(err, "looking at the volume's '" COW_INSIDE_NAME "'");
  if (!S_ISREG(st.st_mode) || st.st_uid != 0)
    return error_set(err, -EEXIST, UMBRA_REASON_INVALID,
                     "the volume's '" COW_INSIDE_NAME "' is not a storage file: rename it");
  return 0;
}

/* What an earlier attach left. */
static int remove_old(int root_fd, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = open_it(root_fd);
  if (fd < 0)
    return errno == ENOENT ? 0 : error_errno(err, "opening the volume's '" COW_INSIDE_NAME "'");
  int r = check_file(fd, err);
  if (r < 0)
    return r;
  r = set_kept(fd, false);
  if (r >= 0 && unlinkat(root_fd, COW_INSIDE_NAME, 0) < 0)
    r = -errno;
  return r < 0 ? error_code(err, r, "replacing the volume's '" COW_INSIDE_NAME "'") : 0;
}

/* Not from what the filesystem keeps for root: programs would find the volume full. */
static int reserve(int root_fd, int fd, uint64_t bytes) {
  struct statvfs fs;
  if (fstatvfs(root_fd, &fs) < 0)
    return -errno;
  if (fs.f_frsize == 0 || bytes / fs.f_frsize >= fs.f_bavail)
    return -ENOSPC;
  if (fallocate(fd, 0, 0, (off_t)bytes) < 0 || fsync(fd) < 0)
    return -errno;
  return set_kept(fd, true);
}

static int make(int root_fd, uint64_t bytes, int *ret_fd, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = openat(root_fd, COW_INSIDE_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return error_errno(err, "making the volume's '" COW_INSIDE_NAME "'");
  int r = reserve(root_fd, fd, bytes);
  if (r < 0) {
    (void)unlinkat(root_fd, COW_INSIDE_NAME, 0);
    return error_code(err, r, "reserving %llu bytes in the volume's '" COW_INSIDE_NAME "' (umbra attach --limit)",
                      (unsigned long long)bytes);
  }
  *ret_fd = take_fd(&fd);
  return 0;
}

static int compare_offsets(const void *a, const void *b) {
  const struct fiemap_extent *x = a, *y = b;
  return (x->fe_physical > y->fe_physical) - (x->fe_physical < y->fe_physical);
}

/* Each one in its place, for this file alone, and never written: nothing reads it. */
static bool usable(const struct fiemap_extent *extent) {
  const uint32_t last_only = FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED;
  return (extent->fe_flags & ~last_only) == FIEMAP_EXTENT_UNWRITTEN;
}

/* XFS: on the realtime device its places are that one's. */
static bool is_elsewhere(int fd) {
  struct fsxattr attributes;
  return ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 && (attributes.fsx_xflags & FS_XFLAG_REALTIME);
}

/* Where the file lies, ascending: [[offset_bytes, length_bytes], …]. *ret is the caller's. */
static int find_ranges(int fd, json_t **ret, struct umbra_error *err) {
  CLEANUP_FREE struct fiemap *map = calloc(1, sizeof *map + COW_RANGES_MAX * sizeof map->fm_extents[0]);
  json_t *ranges = json_array();
  if (!map || !ranges) {
    json_decref(ranges);
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "asking where a file lies");
  }
  *map = (struct fiemap){
      .fm_length = FIEMAP_MAX_OFFSET, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = COW_RANGES_MAX};
  int r = is_elsewhere(fd) ? error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                                       "the volume's '" COW_INSIDE_NAME "' is on XFS's realtime device")
          : ioctl(fd, FS_IOC_FIEMAP, map) < 0 ? error_errno(err, "asking where the volume's '" COW_INSIDE_NAME "' lies")
                                            : 0;
  uint32_t count = r < 0 ? 0 : map->fm_mapped_extents;
  if (r >= 0 && (count == 0 || !(map->fm_extents[count - 1].fe_flags & FIEMAP_EXTENT_LAST)))
    r = error_set(err, -EFBIG, UMBRA_REASON_STORAGE,
                  "the volume's free space is in too many pieces for storage inside it (more than %d)",
                  (int)COW_RANGES_MAX);
  for (uint32_t i = 0; i < count && r >= 0; i++)
    if (!usable(&map->fm_extents[i]))
      r = error_set(err, -EOPNOTSUPP, UMBRA_REASON_STORAGE,
                    "the volume's '" COW_INSIDE_NAME
                    "' is no reserved space (extent flags %#x): somebody wrote to it, or "
                    "its filesystem moves files",
                    map->fm_extents[i].fe_flags);
  qsort(map->fm_extents, count, sizeof map->fm_extents[0], compare_offsets);
  for (uint32_t i = 0; i < count && r >= 0; i++)
    if (json_array_append_new(ranges, json_pack("[I, I]", (json_int_t)map->fm_extents[i].fe_physical,
                                                (json_int_t)map->fm_extents[i].fe_length)) < 0)
      r = error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "asking where a file lies");
  if (r < 0)
    json_decref(ranges);
  else
    *ret = ranges;
  return r;
}

static int check_filesystem(const struct volume *volume, int root_fd, struct umbra_error *err) {
  struct stat st;
  if (strcmp(volume->fs_type, "ext4") != 0 && strcmp(volume->fs_type, "xfs") != 0)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "storage inside the volume is for ext4 and XFS, not for %s", volume->fs_type);
  if (strcmp(volume->fs_root, "/") != 0)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "'%s' shows only the directory '%s' of its filesystem, and the storage is in its root: make the "
                     "shadow copy of where all of it is mounted",
                     volume->mount_point, volume->fs_root);
  if (fstat(root_fd, &st) < 0 || st.st_dev != volume->block_device)
    return error_set(err, -ESTALE, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "what '%s' shows is not on the attached device: is something mounted over it?",
                     volume->mount_point);
  return 0;
}

/*
 * Asks the filesystem, tells the server, and again until it is certain (E24). The file stays open meanwhile, so that its
 * blocks are nobody else's even if its name goes.
 */
static int tell(int control_fd, int fd, int timeout_ms, struct umbra_error *err) {
  bool certain = false;
  int r = 0;
  for (unsigned asked = 0; r >= 0 && !certain && asked < ASK_TIMES_MAX; asked++) {
    CLEANUP_JSON json_t *answer = NULL;
    json_t *ranges = NULL;
    /* Gone: no ranges are none of the server's. */
    r = fd < 0 ? 0 : find_ranges(fd, &ranges, err);
    if (r >= 0)
      r = cow_client_call(control_fd,
                          json_pack("{s:s, s:o}", "do", "ranges", "ranges", ranges ? ranges : json_array()),
                          timeout_ms, &answer, err);
    certain = json_get_boolean_or(answer, "certain", false);
  }
  return r < 0 || certain ? r
                          : error_set(err, -EAGAIN, UMBRA_REASON_STORAGE,
                                      "the filesystem uses the place of the volume's '" COW_INSIDE_NAME "'");
}

int cow_inside_prepare(int control_fd, const struct volume *volume, int root_fd, bool fresh, uint64_t bytes,
                       int timeout_ms, struct umbra_error *err) {
  /* The provider's descriptor may be a path only. */
  CLEANUP_CLOSE int directory_fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSE int fd = -1;
  int r = directory_fd < 0 ? error_errno(err, "opening '%s'", volume->mount_point)
                           : check_filesystem(volume, directory_fd, err);
  if (r >= 0 && fresh)
    r = remove_old(directory_fd, err);
  if (r >= 0 && fresh)
    r = make(directory_fd, bytes, &fd, err);
  if (r >= 0 && !fresh && (fd = open_it(directory_fd)) < 0 && errno != ENOENT)
    r = error_errno(err, "opening the volume's '" COW_INSIDE_NAME "'");
  if (r < 0)
    return r;
  r = tell(control_fd, fd, timeout_ms, err);
  /* Nothing lies there yet. */
  if (r < 0 && fresh && set_kept(fd, false) >= 0)
    (void)unlinkat(directory_fd, COW_INSIDE_NAME, 0);
  return r;
}
