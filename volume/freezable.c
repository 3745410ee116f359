/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystems that implement freezing are those with freeze_fs or freeze_super in their super_operations
 * (Linux 6.1 to 6.18, fs/); ioctl_fsfreeze() in fs/ioctl.c answers EOPNOTSUPP for all others.  A read-only superblock
 * freezes at once (freeze_super() in fs/super.c), so it needs no exception.
 */
#include "volume/freezable.h"

#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const can_freeze[] = {"ext2", "ext3",   "ext4", "xfs",      "btrfs",   "f2fs",
                                         "jfs",  "nilfs2", "gfs2", "reiserfs", "bcachefs"};

static const char *const network[] = {"nfs", "nfs4", "cifs",     "smb3", "smbfs",  "ceph",     "9p",
                                      "afs", "coda", "virtiofs", "gfs",  "lustre", "orangefs", "ncpfs"};

static const char *const in_memory[] = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "rootfs"};

static const char *const made_up[] = {"proc",     "sysfs",       "cgroup",     "cgroup2",  "devpts",    "mqueue",
                                      "debugfs",  "tracefs",     "securityfs", "configfs", "pstore",    "bpf",
                                      "efivarfs", "binfmt_misc", "fusectl",    "nsfs",     "selinuxfs", "rpc_pipefs",
                                      "nfsd",     "autofs",      "bdev",       "sockfs",   "pipefs"};

static const struct {
  const char *fs_type, *why;
} known[] = {
    {"vfat", "FAT has no freeze in Linux"},
    {"msdos", "FAT has no freeze in Linux"},
    {"exfat", "exFAT has no freeze in Linux"},
    {"ntfs", "NTFS has no freeze in Linux"},
    {"ntfs3", "NTFS has no freeze in Linux"},
    {"hfs", "HFS has no freeze in Linux"},
    {"hfsplus", "HFS+ has no freeze in Linux"},
    {"udf", "UDF has no freeze in Linux"},
    {"zfs", "ZFS has no freeze; use its own snapshots (zfs snapshot)"},
    {"iso9660", "ISO 9660 is read-only by nature: it has no freeze and needs none"},
    {"squashfs", "SquashFS is read-only by nature: it has no freeze and needs none"},
    {"erofs", "EROFS is read-only by nature: it has no freeze and needs none"},
    {"cramfs", "cramfs is read-only by nature: it has no freeze and needs none"},
    {"ocfs2", "OCFS2 has no freeze in Linux"},
    {"ecryptfs", "eCryptfs has no freeze of its own: name a path on the volume below it"},
};

#define LISTED(list, name) is_listed(list, sizeof(list) / sizeof((list)[0]), name)

static bool is_listed(const char *const *list, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(list[i], name) == 0)
      return true;
  return false;
}

bool freezable_is_network(const char *fs_type) {
  return LISTED(network, fs_type) || strncmp(fs_type, "fuse.sshfs", 10) == 0 ||
         strncmp(fs_type, "fuse.glusterfs", 14) == 0;
}

static int say(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int say(char **ret, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vasprintf(ret, format, args);
  va_end(args);
  if (n >= 0)
    return 0;
  *ret = NULL;
  return -ENOMEM;
}

/* CAP_SYS_ADMIN over the machine: in the initial user namespace, which owns every superblock on a real device. */
bool freezable_by_us(const struct places *places) {
  if (!places->live)
    return true;
  unsigned first = 1, outside = 1, count = 0;
  CLEANUP_FCLOSE FILE *map = fopen("/proc/self/uid_map", "re");
  if (map &&
      (fscanf(map, "%u %u %u", &first, &outside, &count) != 3 || first != 0 || outside != 0 || count != UINT32_MAX))
    return false;
  CLEANUP_FCLOSE FILE *status = fopen("/proc/self/status", "re");
  char line[256];
  unsigned long long capabilities = 0;
  while (status && fgets(line, sizeof line, status))
    if (sscanf(line, "CapEff: %llx", &capabilities) == 1)
      break;
  return capabilities >> CAP_SYS_ADMIN & 1;
}

static int overlay_why(const struct mount_entry *mount, const struct mounts *all, char **ret) {
  CLEANUP_FREE char *upper = NULL;
  if (!mount_option(mount, "upperdir", &upper))
    return say(ret, "overlayfs cannot be frozen, and this one has no upper directory: it is read-only");
  const struct mount_entry *below = upper[0] == '/' ? mounts_find_by_name(all, upper) : NULL;
  if (!below)
    return say(ret, "overlayfs cannot be frozen: its changes are kept in '%s', which cannot be reached from here",
               upper);
  return say(ret, "overlayfs cannot be frozen: name '%s' instead, its upper directory on the %s volume '%s'", upper,
             below->fs_type, below->target);
}

int freezable_why_not(const struct mount_entry *mount, const struct mounts *all, bool by_us, char **ret) {
  const char *type = mount->fs_type;
  *ret = NULL;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(known[i].fs_type, type) == 0)
      return say(ret, "%s", known[i].why);
  if (strcmp(type, "overlay") == 0)
    return overlay_why(mount, all, ret);
  if (freezable_is_network(type))
    return say(ret, "%s is a network filesystem: only its server could freeze it", type);
  if (LISTED(in_memory, type))
    return say(ret, "%s lives in memory and cannot be frozen", type);
  if (LISTED(made_up, type))
    return say(ret, "%s is made up by the kernel and holds no data of its own", type);
  if (strncmp(type, "fuse", 4) == 0 && (type[4] == 0 || type[4] == '.' || strcmp(type, "fuseblk") == 0))
    return say(ret, "%s is served by a program (FUSE) and cannot be frozen", type);
  if (!LISTED(can_freeze, type))
    return say(ret, "umbra does not know that %s can be frozen", type);
  if (mount->hidden)
    return say(ret, "something else is mounted over '%s', so no path leads to this volume", mount->target);
  if (!by_us)
    return say(ret, "freezing needs root (CAP_SYS_ADMIN in the machine's own user namespace)");
  return 0;
}

/*
 * ext4 shows no option for an external journal.  A journal's thread is in /sys/fs/ext4/NAME/journal_task; jbd2 lists
 * a journal in a file of the volume as NAME-INODE and a journal on a device of its own by that device's name
 * (fs/jbd2/journal.c, j_devname).  So: a journal, but none of this name with an inode, is an external one.
 */
static bool has_external_journal(const char *name, const struct places *places) {
  char path[PATH_MAX], text[64] = "";
  (void)snprintf(path, sizeof path, "%s/fs/ext4/%s/journal_task", places->sysfs, name);
  CLEANUP_FCLOSE FILE *task = fopen(path, "re");
  if (!task || !fgets(text, sizeof text, task) || text[0] < '0' || text[0] > '9')
    return false;
  (void)snprintf(path, sizeof path, "%s/fs/jbd2", places->proc);
  CLEANUP_CLOSEDIR DIR *dir = opendir(path);
  if (!dir)
    return false;
  struct dirent *entry;
  size_t length = strlen(name);
  while ((entry = readdir(dir)))
    if (strncmp(entry->d_name, name, length) == 0 && entry->d_name[length] == '-' &&
        strspn(entry->d_name + length + 1, "0123456789") == strlen(entry->d_name + length + 1))
      return false;
  return true;
}

int freezable_image_why_not(const struct mount_entry *mount, dev_t block_device, const struct places *places,
                            char **ret) {
  CLEANUP_FREE char *other = NULL;
  char name[BLOCK_TEXT_BYTES];
  dev_t members[BLOCK_BELOW_MAX];
  *ret = NULL;
  if (block_device == 0)
    return say(ret, "%s does not lie on one block device", mount->fs_type);
  if (strcmp(mount->fs_type, "xfs") == 0 && mount_option(mount, "logdev", &other))
    return say(ret, "this XFS keeps its log on another device, '%s': a copy of one device is not the whole volume",
               other);
  if (strcmp(mount->fs_type, "xfs") == 0 && mount_option(mount, "rtdev", &other))
    return say(ret, "this XFS keeps data on a realtime device, '%s': a copy of one device is not the whole volume",
               other);
  if (strncmp(mount->fs_type, "ext", 3) == 0 && block_name(places, block_device, name) == 0 &&
      has_external_journal(name, places))
    return say(ret, "this %s keeps its journal on another device: a copy of one device is not the whole volume",
               mount->fs_type);
  if (strcmp(mount->fs_type, "btrfs") == 0) {
    size_t count = block_btrfs_members(places, block_device, members);
    if (count > 1)
      return say(ret, "this btrfs spans %zu devices: a copy of one is not the whole volume", count);
  }
  return 0;
}
