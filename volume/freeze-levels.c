/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who lies on whom.  Freezing a filesystem writes to its device; if that device ends in a file on another volume that
 * is frozen already, the freeze waits for ever.  So the upper one goes first.
 *
 * Between two volumes of a set there may be others that are not in it (a loop device on a volume on a loop device),
 * so the way down is followed through every mount of the machine and not only through the set. An attached volume
 * lies on its origin and on its storage: what is written to it may first have to be copied there.
 */
#include "volume/table.h"

#include "common/cleanup.h"
#include "volume/session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { DESCENT_MAX = 1024 };

/* Everything below one volume: superblocks and block devices reached so far, each visited once. */
struct descent {
  const struct volume_table *table;
  dev_t superblocks[DESCENT_MAX], blocks[DESCENT_MAX];
  size_t superblock_count, block_count;
  bool full;
};

static bool add(struct descent *d, dev_t *list, size_t *count, dev_t device) {
  for (size_t i = 0; i < *count; i++)
    if (list[i] == device)
      return false;
  if (*count == DESCENT_MAX) {
    d->full = true;
    return false;
  }
  list[(*count)++] = device;
  return true;
}

static void add_superblock(struct descent *d, dev_t device) {
  (void)add(d, d->superblocks, &d->superblock_count, device);
}
static void add_block(struct descent *d, dev_t device) { (void)add(d, d->blocks, &d->block_count, device); }

/* The superblock that holds a path, as mountinfo numbers it (a btrfs file's st_dev is another number). 0: cannot
 * tell. */
static dev_t superblock_of_path(const struct volume_table *table, const char *path) {
  const struct mount_entry *mount;
  if (!table->places->live) {
    mount = mounts_find_by_name(&table->mounts, path);
    return mount ? mount->device : 0;
  }
  CLEANUP_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
  int id = fd < 0 ? -1 : volume_mount_id(fd);
  mount = id < 0 ? NULL : mounts_find(&table->mounts, id);
  return mount ? mount->device : 0;
}

/* The driver knows the file itself; its path may mean nothing here (deleted, another namespace, something mounted
 * over). */
static dev_t superblock_of_loop(const struct volume_table *table, dev_t device, const char *path) {
  CLEANUP_FREE char *node = table->places->live ? block_node(table->places, device, NULL) : NULL;
  CLEANUP_CLOSE int fd = node ? open(node, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
  struct loop_info64 info;
  if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0)
    for (size_t i = 0; i < table->mounts.count; i++)
      if (table->mounts.entries[i].device == (dev_t)info.lo_device)
        return table->mounts.entries[i].device;
  return superblock_of_path(table, path);
}

static void add_below_session(bool block, dev_t number, void *context) {
  if (block)
    add_block(context, number);
  else
    add_superblock(context, number);
}

/* A session may be anybody's, who may write what he likes into its source. */
static bool is_roots_session(const struct mount_entry *mount) {
  CLEANUP_FREE char *user = NULL;
  return strcmp(mount->fs_type, VOLUME_SESSION_TYPE) == 0 && mount_option(mount, "user_id", &user) && user &&
         strcmp(user, "0") == 0;
}

static void descend_superblock(struct descent *d, dev_t superblock) {
  const struct volume_table *table = d->table;
  dev_t members[BLOCK_BELOW_MAX];
  for (size_t i = 0; i < table->mounts.count; i++) {
    const struct mount_entry *mount = &table->mounts.entries[i];
    if (mount->device != superblock)
      continue;
    const struct volume *volume = &table->volumes[table->volume_of_mount[i]];
    if (volume->block_device != 0)
      add_block(d, volume->block_device);
    size_t count = strcmp(mount->fs_type, "btrfs") == 0 && volume->block_device != 0
                       ? block_btrfs_members(table->places, volume->block_device, members)
                       : 0;
    for (size_t m = 0; m < count; m++)
      add_block(d, members[m]);
    if (is_roots_session(mount))
      volume_session_visit(mount->source, add_below_session, d);
    CLEANUP_FREE char *upper = NULL;
    dev_t below = 0;
    if (strcmp(mount->fs_type, "overlay") == 0 && mount_option(mount, "upperdir", &upper) && upper && upper[0] == '/')
      below = superblock_of_path(table, upper);
    if (below != 0)
      add_superblock(d, below);
    return;
  }
}

/*
 * The session whose volume this device is, whatever made the device: at DIRECTORY/mnt, beside a name for the device.
 * Only root's: looking beside another's may take as long as he likes. 0: none.
 */
static dev_t session_of_block(const struct volume_table *table, dev_t block) {
  static const char below[] = "/mnt";
  for (size_t i = 0; table->places->live && i < table->mounts.count; i++) {
    const struct mount_entry *mount = &table->mounts.entries[i];
    size_t length = strlen(mount->target), end = strlen(below);
    CLEANUP_FREE char *path = NULL;
    struct stat st;
    if (!is_roots_session(mount) || length <= end || strcmp(mount->target + length - end, below) != 0 ||
        asprintf(&path, "%.*s/device", (int)(length - end), mount->target) < 0)
      continue;
    if (stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == block)
      return mount->device;
  }
  return 0;
}

static void descend_block(struct descent *d, dev_t block) {
  dev_t below[BLOCK_BELOW_MAX];
  size_t count = block_below(d->table->places, block, below);
  for (size_t i = 0; i < count; i++)
    add_block(d, below[i]);
  CLEANUP_FREE char *file = NULL;
  dev_t superblock =
      block_backing_file(d->table->places, block, &file) ? superblock_of_loop(d->table, block, file) : 0;
  if (superblock != 0)
    add_superblock(d, superblock);
  dev_t session = session_of_block(d->table, block);
  if (session != 0)
    add_superblock(d, session);
}

/* Lists the superblocks below volume in d, its own not among them unless it lies on itself. */
static void descend(struct descent *d, const struct volume *volume) {
  size_t next_superblock = 0, next_block = 0;
  descend_superblock(d, volume->device);
  while (next_superblock < d->superblock_count || next_block < d->block_count) {
    if (next_block < d->block_count)
      descend_block(d, d->blocks[next_block++]);
    else
      descend_superblock(d, d->superblocks[next_superblock++]);
  }
}

static bool reaches(const struct descent *d, dev_t superblock) {
  for (size_t i = 0; i < d->superblock_count; i++)
    if (d->superblocks[i] == superblock)
      return true;
  return false;
}

static int refuse_cycle(const struct volume *const *volumes, size_t count, const bool *on, size_t start,
                        struct umbra_error *err) {
  char names[ERROR_MESSAGE_BYTES_MAX / 2] = "";
  for (size_t j = 0; j < count; j++) {
    if (!on[start * count + j] || !on[j * count + start])
      continue;
    size_t used = strlen(names);
    (void)snprintf(names + used, sizeof names - used, "%s'%s'", used ? ", " : "", volumes[j]->mount_point);
  }
  return error_set(err, -ELOOP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                   "volumes lie on one another in a circle (%s): no order of freezing is safe", names);
}

int volume_table_freeze_levels(const struct volume_table *table, const struct volume *const *volumes, size_t count,
                               unsigned *ret_levels, struct umbra_error *err) {
  if (count == 0)
    return 0;
  CLEANUP_FREE bool *on = calloc(count * count, sizeof *on); /* on[i * count + j]: i lies on j */
  CLEANUP_FREE struct descent *d = malloc(sizeof *d);
  CLEANUP_FREE unsigned *levels = calloc(count, sizeof *levels);
  if (!on || !d || !levels)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "finding the order of freezing");
  for (size_t i = 0; i < count; i++) {
    *d = (struct descent){.table = table};
    descend(d, volumes[i]);
    if (d->full)
      return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d devices lie below volume '%s'", DESCENT_MAX,
                       volumes[i]->mount_point);
    for (size_t j = 0; j < count; j++)
      on[i * count + j] = reaches(d, volumes[j]->device);
  }
  for (size_t i = 0; i < count; i++)
    if (on[i * count + i])
      return refuse_cycle(volumes, count, on, i, err);
  /* The relation is transitive and has no circle, so count rounds settle the longest ways. */
  for (size_t round = 0; round < count; round++)
    for (size_t i = 0; i < count; i++)
      for (size_t j = 0; j < count; j++)
        if (on[i * count + j] && levels[j] < levels[i] + 1)
          levels[j] = levels[i] + 1;
  memcpy(ret_levels, levels, count * sizeof *levels);
  return 0;
}

int volume_freeze_levels(const struct volume *const *volumes, size_t count, unsigned *ret_levels,
                         struct umbra_error *err) {
  struct volume_table *table = NULL;
  int r = volume_table_load(&table, err);
  if (r < 0)
    return r;
  r = volume_table_freeze_levels(table, volumes, count, ret_levels, err);
  volume_table_free(table);
  return r;
}
