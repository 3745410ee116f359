/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading files below their filesystem: FIEMAP says where, the device gives the bytes. Source:
 * Documentation/filesystems/fiemap.rst. */
#include "providers/files/raw.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

enum { EXTENTS_A_CALL = 32 };

int raw_open(const struct volume *volume) {
  /* Filesystems whose extents name bytes of the one device they lie on. */
  static const char *const plain[] = {"ext2", "ext3", "ext4", "xfs"};
  for (size_t i = 0; i < sizeof plain / sizeof plain[0] && volume->block_path; i++)
    if (strcmp(volume->fs_type, plain[i]) == 0)
      return open(volume->block_path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  return -1;
}

/* The part of one extent that lies within what is asked for. */
static int read_extent(int device_fd, const struct fiemap_extent *e, char *buffer, size_t length_bytes,
                       uint64_t offset_bytes) {
  const uint32_t elsewhere = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
                             FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE |
                             FIEMAP_EXTENT_DATA_TAIL;
  if (e->fe_flags & elsewhere)
    return -EWOULDBLOCK;
  if (e->fe_flags & FIEMAP_EXTENT_UNWRITTEN)
    return 0;
  uint64_t begin = e->fe_logical > offset_bytes ? e->fe_logical : offset_bytes;
  uint64_t end = e->fe_logical + e->fe_length;
  if (end > offset_bytes + length_bytes)
    end = offset_bytes + length_bytes;
  if (end <= begin)
    return 0;
  return fd_pread_all(device_fd, buffer + (begin - offset_bytes), end - begin,
                      e->fe_physical + (begin - e->fe_logical));
}

int raw_read(int device_fd, int file_fd, char *buffer, size_t length_bytes, uint64_t offset_bytes) {
  union {
    struct fiemap map;
    char room[sizeof(struct fiemap) + EXTENTS_A_CALL * sizeof(struct fiemap_extent)];
  } u;
  struct fsxattr attributes;
  if (device_fd < 0)
    return -EWOULDBLOCK;
  /* On XFS the data of such a file are on another device. */
  if (ioctl(file_fd, FS_IOC_FSGETXATTR, &attributes) == 0 && attributes.fsx_xflags & FS_XFLAG_REALTIME)
    return -EWOULDBLOCK;
  memset(&u, 0, sizeof u);
  memset(buffer, 0, length_bytes);
  u.map.fm_start = offset_bytes;
  u.map.fm_length = length_bytes;
  u.map.fm_extent_count = EXTENTS_A_CALL;
  if (ioctl(file_fd, FS_IOC_FIEMAP, &u.map) < 0)
    return -errno;
  /* More pieces than asked for: fewer bytes at a time. */
  if (u.map.fm_mapped_extents == EXTENTS_A_CALL &&
      !(u.map.fm_extents[EXTENTS_A_CALL - 1].fe_flags & FIEMAP_EXTENT_LAST)) {
    size_t half_bytes = length_bytes / 2 & ~(size_t)4095;
    if (half_bytes == 0)
      return -EWOULDBLOCK;
    int r = raw_read(device_fd, file_fd, buffer, half_bytes, offset_bytes);
    return r < 0 ? r
                 : raw_read(device_fd, file_fd, buffer + half_bytes, length_bytes - half_bytes,
                            offset_bytes + half_bytes);
  }
  for (uint32_t i = 0; i < u.map.fm_mapped_extents; i++) {
    int r = read_extent(device_fd, &u.map.fm_extents[i], buffer, length_bytes, offset_bytes);
    if (r < 0)
      return r;
  }
  return 0;
}
