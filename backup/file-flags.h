/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File flags (chattr(1)) of regular files and directories, as the bits of FS_IOC_GETFLAGS: those that more than one
 * of ext4, XFS and btrfs have, and "no copy-on-write".  In an archive they are SCHILY.fflags.
 */
#ifndef BACKUP_FILE_FLAGS_H
#define BACKUP_FILE_FLAGS_H

#include <linux/fs.h>
#include <stdint.h>

enum {
  FILE_FLAGS_LOCKING = FS_IMMUTABLE_FL | FS_APPEND_FL, /* with these nothing else can be done to the file */
  FILE_FLAGS_FREE = FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL | FS_NOCOW_FL,
  FILE_FLAGS_KEPT = FILE_FLAGS_LOCKING | FILE_FLAGS_FREE,
};

/* Of fd, or of directory dir_fd/name if fd is negative. 0 where the filesystem has none. */
uint32_t file_flags_read(int fd, int dir_fd, const char *name);

/*
 * Makes those of mask what they are in flags. Returns how many of them could not be had: the filesystem does not know
 * it, the caller is not allowed to.
 */
unsigned file_flags_set(int fd, uint32_t mask, uint32_t flags);

/* Takes the locking ones off a file that is to be replaced or removed, or a directory; nothing is followed. What
 * cannot be done is left: whoever wanted it done will meet EPERM. */
void file_flags_unlock(int dir_fd, const char *name);

#endif
