/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The storage of a volume that is about to be attached. */
#include "libumbra/attached.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/ledger-read.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PROBE_BYTES = 4096 };

/*
 * Whether the second sector of the storage can be read alone, as readers of shadow copies do. What is asked is the
 * file itself: how a directory's filesystem treats direct I/O is known by nothing else on every kernel. 0, or
 * -EINVAL: it cannot.
 */
static int read_one_sector(int fd, bool is_file, uint32_t sector_bytes) {
  CLEANUP_FREE void *buffer = NULL;
  size_t bytes = 2 * (size_t)(sector_bytes > PROBE_BYTES ? sector_bytes : PROBE_BYTES);
  if (posix_memalign(&buffer, PROBE_BYTES, bytes) != 0)
    return -ENOMEM;
  memset(buffer, 0, bytes);
  int r = is_file ? fd_pwrite_all(fd, buffer, bytes, 0) : 0;
  if (r >= 0 && pread(fd, buffer, sector_bytes, sector_bytes) < 0)
    r = -errno;
  if (is_file && ftruncate(fd, 0) < 0 && r >= 0)
    r = -errno;
  return r;
}

int attached_storage_size(int fd, uint64_t *ret_bytes) {
  struct stat st;
  struct statvfs fs;
  if (fstat(fd, &st) < 0)
    return -errno;
  if (S_ISBLK(st.st_mode))
    return ioctl(fd, BLKGETSIZE64, ret_bytes) < 0 ? -errno : 0;
  if (fstatvfs(fd, &fs) < 0)
    return -errno;
  *ret_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
  return 0;
}

static int open_device(struct umbra_client *client, const char *where, uint32_t sector_bytes, int *ret_fd) {
  int its_bytes = 0;
  CLEANUP_CLOSE int fd = open(where, O_RDWR | O_EXCL | O_DIRECT | O_CLOEXEC);
  if (fd < 0 || ioctl(fd, BLKSSZGET, &its_bytes) < 0)
    return error_errno(&client->error, "opening storage '%s'", where);
  int r = read_one_sector(fd, false, sector_bytes);
  if (r == -EINVAL)
    return error_set(
        &client->error, -EINVAL, UMBRA_REASON_INVALID,
        "storage '%s' has sectors of %d bytes, the volume of %u, and cannot be read in parts as small as "
        "these: take a device with sectors of at most %u bytes, or a directory",
        where, its_bytes, sector_bytes, sector_bytes);
  if (r < 0)
    return error_code(&client->error, r, "reading storage '%s'", where);
  *ret_fd = take_fd(&fd);
  return 0;
}

/* A file without a name, so that nothing of it is left after any end. Direct where that is possible in the volume's
 * sectors. */
static int open_file(struct umbra_client *client, const char *where, uint32_t sector_bytes, int *ret_fd) {
  CLEANUP_CLOSE int fd = open(where, O_RDWR | O_TMPFILE | O_DIRECT | O_CLOEXEC, 0600);
  int r = fd < 0 ? -errno : read_one_sector(fd, true, sector_bytes);
  if (r == -EINVAL) {
    cleanup_close_fd(&fd);
    fd = open(where, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : 0;
  }
  if (r < 0)
    return error_code(&client->error, r, "opening storage '%s'", where);
  *ret_fd = take_fd(&fd);
  return 0;
}

/* Volatile shadow copies must not overwrite persistent ones. */
static int check_not_kept(struct umbra_client *client, const char *where, int fd) {
  struct cow_disk_super super;
  if (cow_ledger_read_super(fd, &super, NULL) == -ENODATA)
    return 0;
  return error_set(&client->error, -EEXIST, UMBRA_REASON_INVALID,
                   "storage '%s' holds persistent shadow copies: attach with --persistent, or clear its first 8192 "
                   "bytes if they may go",
                   where);
}

int attached_open_storage(struct umbra_client *client, const char *where, const char *name, uint32_t sector_bytes,
                          int *ret_fd) {
  CLEANUP_FREE char *kept = attached_kept_path(where, name);
  struct stat st;
  if (stat(where, &st) < 0)
    return error_errno(&client->error, "storage '%s'", where);
  if (S_ISBLK(st.st_mode)) {
    int r = open_device(client, where, sector_bytes, ret_fd);
    return r < 0 ? r : check_not_kept(client, where, *ret_fd);
  }
  if (!S_ISDIR(st.st_mode))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                     "storage '%s' is neither a directory nor a block device", where);
  if (kept && access(kept, F_OK) == 0)
    return error_set(
        &client->error, -EEXIST, UMBRA_REASON_INVALID,
        "'%s' holds the volume's persistent shadow copies: attach with --persistent, or remove it if they "
        "may go",
        kept);
  return open_file(client, where, sector_bytes, ret_fd);
}

char *attached_kept_path(const char *where, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/umbra-%s.storage", where, name) < 0 ? NULL : path;
}

/* Locked, so that no other attach takes it; the lock is the descriptor's and ends with the programs that hold it. */
static int open_kept_file(struct umbra_client *client, const char *path, uint32_t sector_bytes, int *ret_fd) {
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
  struct stat st;
  CLEANUP_CLOSE int fd = open(path, flags | O_DIRECT, 0600);
  if (fd < 0 && errno == EINVAL)
    fd = open(path, flags, 0600);
  if (fd < 0 || fstat(fd, &st) < 0)
    return error_errno(&client->error, "opening storage '%s'", path);
  if (!S_ISREG(st.st_mode))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "storage '%s' is not a file", path);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY, "storage '%s' is in use", path);
  int r = read_one_sector(fd, st.st_size == 0, sector_bytes);
  if (r == -EINVAL && fcntl(fd, F_SETFL, 0) < 0)
    r = -errno;
  if (r < 0 && r != -EINVAL)
    return error_code(&client->error, r, "reading storage '%s'", path);
  *ret_fd = take_fd(&fd);
  return 0;
}

int attached_open_kept(struct umbra_client *client, const char *where, const char *name, uint32_t sector_bytes,
                       int *ret_fd, char **ret_path) {
  struct stat st;
  if (stat(where, &st) < 0)
    return error_errno(&client->error, "storage '%s'", where);
  bool device = S_ISBLK(st.st_mode);
  if (!device && !S_ISDIR(st.st_mode))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                     "storage '%s' is neither a directory nor a block device", where);
  *ret_path = device ? strdup(where) : attached_kept_path(where, name);
  if (!*ret_path)
    return error_set(&client->error, -ENOMEM, UMBRA_REASON_INTERNAL, "opening storage '%s'", where);
  return device ? open_device(client, where, sector_bytes, ret_fd)
                : open_kept_file(client, *ret_path, sector_bytes, ret_fd);
}
