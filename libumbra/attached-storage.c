/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The storage of a volume that is about to be attached. */
#include "libumbra/attached.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
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

int attached_open_storage(struct umbra_client *client, const char *where, uint32_t sector_bytes, int *ret_fd) {
  struct stat st;
  if (stat(where, &st) < 0)
    return error_errno(&client->error, "storage '%s'", where);
  if (S_ISBLK(st.st_mode))
    return open_device(client, where, sector_bytes, ret_fd);
  if (S_ISDIR(st.st_mode))
    return open_file(client, where, sector_bytes, ret_fd);
  return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                   "storage '%s' is neither a directory nor a block device", where);
}
