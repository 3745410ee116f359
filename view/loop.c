/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loop devices over images.  Between asking for a free number and taking it somebody else may take it, so that is one
 * loop with a limit.  LOOP_CONFIGURE sets everything in one step: the device is never there half-made, and never
 * without LO_FLAGS_AUTOCLEAR, so that no end of this process leaves it behind.
 */
#include "view/loop.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* -EBUSY: somebody was faster, try another number. */
static int take_device(int number, int image_fd, const struct loop_config *template, int *ret_fd, char **ret_path,
                       struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "/dev/loop%d", number) < 0) {
    path = NULL;
    return error_code(err, -ENOMEM, "making a loop device");
  }
  bool read_only = template->info.lo_flags & LO_FLAGS_READ_ONLY;
  CLEANUP_CLOSE int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return error_errno(err, "opening the free loop device '%s' (is /dev a devtmpfs?)", path);
  struct loop_config config = *template;
  config.fd = (__u32)image_fd;
  if (ioctl(fd, LOOP_CONFIGURE, &config) < 0)
    return error_errno(err, "setting up '%s'", path);
  *ret_fd = take_fd(&fd);
  *ret_path = take_pointer(path);
  return 0;
}

/*
 * Whether one sector can really be read directly. The driver believes what the filesystem declares, and overlayfs (a
 * container's root) declares it for whatever lies below: every read of the device would then fail.
 */
static bool can_read_directly(int image_fd, unsigned sector_bytes) {
  char path[FD_PROC_PATH_BYTES];
  CLEANUP_CLOSE int fd = open(fd_proc_path(image_fd, path), O_RDONLY | O_DIRECT | O_CLOEXEC);
  CLEANUP_FREE void *sector = NULL;
  if (fd < 0 || posix_memalign(&sector, LOOP_SECTOR_BYTES_MAX, LOOP_SECTOR_BYTES_MAX) != 0)
    return false;
  return pread(fd, sector, sector_bytes, sector_bytes) == (ssize_t)sector_bytes;
}

int loop_open(const char *image, unsigned sector_bytes, bool read_write, int *ret_fd, char **ret_path,
              struct umbra_error *err) {
  if (sector_bytes < LOOP_SECTOR_BYTES_MIN || sector_bytes > LOOP_SECTOR_BYTES_MAX ||
      (sector_bytes & (sector_bytes - 1)) != 0)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "image '%s': sectors of %u bytes", image, sector_bytes);
  CLEANUP_CLOSE int image_fd = open(image, (read_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
  if (image_fd < 0)
    return error_errno(err, "opening the image '%s'", image);
  CLEANUP_CLOSE int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control_fd < 0)
    return error_errno(err, "opening '/dev/loop-control' (is the kernel's loop driver loaded?)");

  struct loop_config config = {.block_size = sector_bytes};
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  if (can_read_directly(image_fd, sector_bytes))
    config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  if (!read_write)
    config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  /* For people only: `losetup -l` shows the kernel's own idea of the path. */
  (void)snprintf((char *)config.info.lo_file_name, sizeof config.info.lo_file_name, "%s", image);

  int r = -EBUSY;
  for (int try = 0; try < LOOP_TRIES_MAX && r == -EBUSY; try++) {
    int number = ioctl(control_fd, LOOP_CTL_GET_FREE);
    if (number < 0)
      return error_errno(err, "finding a free loop device");
    r = take_device(number, image_fd, &config, ret_fd, ret_path, err);
  }
  return r < 0 ? error_prefix(err, r, "image '%s'", image) : 0;
}

int loop_keep(int fd, struct umbra_error *err) {
  struct loop_info64 info;
  if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
    return error_errno(err, "keeping a loop device");
  info.lo_flags &= ~(__u32)LO_FLAGS_AUTOCLEAR;
  return ioctl(fd, LOOP_SET_STATUS64, &info) < 0 ? error_errno(err, "keeping a loop device") : 0;
}

/* The number may be somebody else's by now. An image that is gone cannot be compared, but its name can. 0 or 1. */
static int lies_over(int fd, const char *path, const char *image, struct umbra_error *err) {
  struct loop_info64 info;
  struct stat st;
  if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
    return errno == ENXIO ? 0 : error_errno(err, "asking what '%s' is", path);
  return stat(image, &st) == 0 ? info.lo_inode == st.st_ino && info.lo_device == st.st_dev
                               : strncmp((const char *)info.lo_file_name, image, LO_NAME_SIZE - 1) == 0;
}

bool loop_lies_over(const char *path, const char *image) {
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  return fd >= 0 && lies_over(fd, path, image, NULL) > 0;
}

static int drop(const char *path, const char *image, bool alone, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return errno == ENOENT || errno == ENXIO ? 0 : error_errno(err, "opening '%s'", path);
  int ours = lies_over(fd, path, image, err);
  if (ours <= 0)
    return ours;
  /* As long as this is open nobody can mount it. */
  CLEANUP_CLOSE int exclusive = alone ? open(path, O_RDONLY | O_CLOEXEC | O_EXCL) : -1;
  if (alone && exclusive < 0)
    return error_errno(err, "'%s' is in use", path);
  return ioctl(fd, LOOP_CLR_FD) < 0 && errno != ENXIO ? error_errno(err, "detaching '%s'", path) : 0;
}

int loop_drop(const char *path, const char *image, struct umbra_error *err) { return drop(path, image, false, err); }

int loop_drop_alone(const char *path, const char *image, struct umbra_error *err) {
  return drop(path, image, true, err);
}

void loop_drop_below(const char *directory) {
  CLEANUP_CLOSEDIR DIR *blocks = opendir("/sys/block");
  struct dirent *entry;
  size_t length = strlen(directory);
  while (blocks && (entry = readdir(blocks))) {
    char path[sizeof entry->d_name + 32];
    CLEANUP_FREE char *backing = NULL;
    size_t bytes = 0;
    (void)snprintf(path, sizeof path, "%s/loop/backing_file", entry->d_name);
    if (strncmp(entry->d_name, "loop", 4) != 0 ||
        fd_read_file(dirfd(blocks), path, (size_t)2 * PATH_MAX, &backing, &bytes) < 0 ||
        strncmp(backing, directory, length) != 0 || backing[length] != '/')
      continue;
    (void)snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
      (void)ioctl(fd, LOOP_CLR_FD);
  }
}

bool loop_over_file(dev_t device, ino_t inode, char **ret_path) {
  DIR *devices = opendir("/dev");
  const struct dirent *entry;
  bool found = false;
  while (devices && !found && (entry = readdir(devices))) {
    struct loop_info64 info;
    if (strncmp(entry->d_name, "loop", 4) != 0 ||
        strspn(entry->d_name + 4, "0123456789") != strlen(entry->d_name + 4))
      continue;
    CLEANUP_CLOSE int fd = openat(dirfd(devices), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    found = fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == device &&
            info.lo_inode == inode && asprintf(ret_path, "/dev/%s", entry->d_name) >= 0;
  }
  if (devices)
    (void)closedir(devices);
  return found;
}
