/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies under a path: the volume (a mounted filesystem), its block device and what can be done with it.
 * Source: proc_pid_mountinfo(5), statx(2) STATX_MNT_ID, Documentation/admin-guide/sysfs-rules.
 *
 * Whether somebody else has frozen a volume cannot be asked of Linux: FIFREEZE answers EBUSY, and that is when it
 * shows. can_freeze therefore speaks of the kind of filesystem and of rights, not of the moment.
 *
 * A volume table is one look at the machine. Everything that hangs on it (volumes, strings) belongs to the table and
 * lives until volume_table_free(). Nothing here changes anything, opens a device for writing, or freezes.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct volume {
  /* "8:1"; for btrfs "0:33:/@home": each mounted subvolume is a volume of its own. Same key = same volume. */
  char *key;
  char *
      mount_point; /* absolute; where it is shown: of several mounts of it the one that shows most, then the oldest */
  char *fs_root;   /* which directory of the filesystem mount_point shows: "/" unless bind mount or subvolume */
  char *fs_type;   /* "ext4", "xfs", "btrfs", "tmpfs"… */
  char *source;    /* as mounted: "/dev/vda1" */
  dev_t device;    /* of the superblock, as in mountinfo */
  int mount_id;    /* of mount_point */
  bool read_only;  /* the superblock is read-only */

  dev_t block_device;    /* the block device it lies on; 0: none (btrfs: of its first device) */
  char *block_path;      /* node of block_device in /dev, or NULL */
  uint64_t block_bytes;  /* size of block_device */
  unsigned sector_bytes; /* its logical block size */

  bool can_freeze;  /* FIFREEZE can work here */
  char *freeze_why; /* when not: why, in words */

  char *image_why; /* a copy of block_device alone would not be this filesystem, and why; NULL: it would */
};

struct volume_table;

int volume_table_load(struct volume_table **ret, struct umbra_error *err);
void volume_table_free(struct volume_table *table);
size_t volume_table_count(const struct volume_table *table);
const struct volume *volume_table_get(const struct volume_table *table, size_t index);
const struct volume *volume_table_find(const struct volume_table *table, const char *key); /* NULL if none */

/*
 * The volume that holds path (symlinks followed), decided by mount id and not by names, so that a directory that only
 * looks like a mount point is never taken for one. *ret_path (may be NULL; caller frees) is path as an absolute
 * path without symlinks, as it is reached through volume->mount_point: "/bind/x" becomes "/data/d/x" when "/bind"
 * shows
 * "/data/d". Where the mount point does not show it (a filesystem of which two separate parts are mounted) it stays
 * as it is, and volume_path_in_filesystem() refuses it.
 */
int volume_table_lookup(const struct volume_table *table, const char *path, const struct volume **ret,
                        char **ret_path, struct umbra_error *err);

/*
 * Path of a file within its filesystem: absolute live path below volume->mount_point → path from the filesystem's
 * root
 * ("/srv/a" mounted from fs_root "/data" → "/data/a"). Caller frees. -EXDEV if path is not below the mount point.
 */
int volume_path_in_filesystem(const struct volume *volume, const char *path, char **ret, struct umbra_error *err);

/*
 * Opens the volume's root directory (O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC) and proves by mount id that it
 * is this volume and not what lies under a vanished mount. Returns the descriptor or negative errno.
 */
int volume_open(const struct volume *volume, struct umbra_error *err);

/*
 * Order of freezing: a filesystem whose device lies on a file of another volume in the list (loop, also below dm and
 * md) has to freeze before that one. Fills ret_levels[i], 0 freezes first; volumes of one level may freeze in
 * parallel. -ELOOP, with the names, when there is a cycle.
 */
int volume_freeze_levels(const struct volume *const *volumes, size_t count, unsigned *ret_levels,
                         struct umbra_error *err);

/*
 * What the volume lies on, in words: "partition 2 of virtio disk /dev/vda". Caller frees. -ENODEV if it does not lie
 * on a block device that sysfs knows.
 */
int volume_describe_device(const struct volume *volume, char **ret);

#endif
