/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes out of mounts.
 *
 * Bind mounts, mounts in several places and mounts of parts of a filesystem are all one volume: what they share is
 * the superblock, and that is what freezes.  btrfs is the exception: its subvolumes share a superblock, but each is
 * snapshotted by itself, so each mounted subvolume is a volume.
 *
 * Which volume a path belongs to is asked of the kernel by mount id, never worked out from names: names lie when
 * something is mounted over something else, when a mount has gone and its empty directory is left, and in other
 * namespaces.
 */
#include "volume/volume.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "volume/freezable.h"
#include "volume/table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void done_volume(struct volume *volume) {
  free(volume->key);
  free(volume->mount_point);
  free(volume->fs_root);
  free(volume->fs_type);
  free(volume->source);
  free(volume->block_path);
  free(volume->freeze_why);
  free(volume->image_why);
}

void volume_table_free(struct volume_table *table) {
  if (!table)
    return;
  for (size_t i = 0; i < table->count; i++)
    done_volume(&table->volumes[i]);
  free(table->volumes);
  free(table->volume_of_mount);
  mounts_done(&table->mounts);
  free(table);
}

static void cleanup_table(struct volume_table **table) { volume_table_free(*table); }

size_t volume_table_count(const struct volume_table *table) { return table->count; }

const struct volume *volume_table_get(const struct volume_table *table, size_t index) {
  return index < table->count ? &table->volumes[index] : NULL;
}

const struct volume *volume_table_find(const struct volume_table *table, const char *key) {
  for (size_t i = 0; i < table->count; i++)
    if (strcmp(table->volumes[i].key, key) == 0)
      return &table->volumes[i];
  return NULL;
}

static char *make_key(const struct mount_entry *mount) {
  char *key = NULL;
  int n = mount->subvolume ? asprintf(&key, "%u:%u:%s", major(mount->device), minor(mount->device), mount->subvolume)
                           : asprintf(&key, "%u:%u", major(mount->device), minor(mount->device));
  return n < 0 ? NULL : key;
}

static size_t depth_of(const char *path) {
  size_t depth = 0;
  for (const char *c = path; *c; c++)
    depth += *c == '/' && c[1] != 0;
  return depth;
}

/* Asking a server that is gone would hang. */
static bool may_hang(const struct mount_entry *mount) {
  return freezable_is_network(mount->fs_type) || strncmp(mount->fs_type, "fuse", 4) == 0;
}

static bool is_single_file(const struct volume_table *table, const struct mount_entry *mount) {
  struct stat st;
  if (!table->places->live || mount->hidden || may_hang(mount))
    return false;
  return fstatat(AT_FDCWD, mount->target, &st, AT_NO_AUTOMOUNT) == 0 && !S_ISDIR(st.st_mode);
}

/* Which of two mounts of one volume is the better place to look at it; equal ones stay in order of age. */
static bool shows_more(const struct volume_table *table, const struct mount_entry *a, const struct mount_entry *b) {
  if (a->hidden != b->hidden)
    return b->hidden;
  bool file_a = is_single_file(table, a), file_b = is_single_file(table, b);
  if (file_a != file_b)
    return file_b;
  return depth_of(a->root) < depth_of(b->root);
}

static dev_t find_block_device(const struct volume_table *table, const struct mount_entry *mount) {
  struct stat st;
  if (block_exists(table->places, mount->device))
    return mount->device;
  /* btrfs and others with an anonymous device number: what was mounted says more. */
  if (table->places->live && major(mount->device) == 0 && !may_hang(mount) && mount->source[0] == '/' &&
      stat(mount->source, &st) == 0 && S_ISBLK(st.st_mode))
    return st.st_rdev;
  return 0;
}

static int fill_volume(const struct volume_table *table, const struct mount_entry *mount, struct volume *volume) {
  const struct places *places = table->places;
  volume->mount_point = strdup(mount->target);
  volume->fs_root = strdup(mount->root);
  volume->fs_type = strdup(mount->fs_type);
  volume->source = strdup(mount->source);
  if (!volume->mount_point || !volume->fs_root || !volume->fs_type || !volume->source)
    return -ENOMEM;
  volume->device = mount->device;
  volume->mount_id = mount->id;
  volume->read_only = mount_option(mount, "ro", NULL);
  volume->block_device = find_block_device(table, mount);
  if (volume->block_device != 0) {
    volume->block_path = block_node(places, volume->block_device, mount->source);
    volume->block_bytes = block_bytes(places, volume->block_device);
    volume->sector_bytes = block_sector_bytes(places, volume->block_device);
  }
  int r = freezable_why_not(mount, &table->mounts, table->can_freeze, &volume->freeze_why);
  if (r < 0)
    return r;
  volume->can_freeze = !volume->freeze_why;
  return freezable_image_why_not(mount, volume->block_device, places, &volume->image_why);
}

/* Mounts of one volume lie together in this order, the oldest first. */
static int compare_volumes(const void *a, const void *b) {
  const struct mount_entry *x = *(const struct mount_entry *const *)a, *y = *(const struct mount_entry *const *)b;
  if (x->device != y->device)
    return x->device < y->device ? -1 : 1;
  int order = strcmp(x->subvolume ? x->subvolume : "", y->subvolume ? y->subvolume : "");
  if (order != 0)
    return order;
  return x < y ? -1 : x > y;
}

static bool same_volume(const struct mount_entry *x, const struct mount_entry *y) {
  return x->device == y->device && strcmp(x->subvolume ? x->subvolume : "", y->subvolume ? y->subvolume : "") == 0;
}

/* Sets first[i] to the oldest mount of the volume that mount i shows. */
static int group_mounts(const struct mounts *mounts, size_t *first) {
  CLEANUP_FREE const struct mount_entry **order = calloc(mounts->count + 1, sizeof *order);
  if (!order)
    return -ENOMEM;
  for (size_t i = 0; i < mounts->count; i++)
    order[i] = &mounts->entries[i];
  qsort(order, mounts->count, sizeof *order, compare_volumes);
  for (size_t i = 0, group = 0; i < mounts->count; i++) {
    if (i > 0 && !same_volume(order[i - 1], order[i]))
      group = i;
    first[order[i] - mounts->entries] = (size_t)(order[group] - mounts->entries);
  }
  return 0;
}

/* One volume for each superblock or subvolume, in order of age, shown by the best of its mounts. */
static int make_volumes(struct volume_table *table) {
  size_t mount_count = table->mounts.count;
  CLEANUP_FREE size_t *best = calloc(mount_count + 1, sizeof *best);
  CLEANUP_FREE size_t *first = calloc(mount_count + 1, sizeof *first);
  table->volumes = calloc(mount_count + 1, sizeof *table->volumes);
  table->volume_of_mount = calloc(mount_count + 1, sizeof *table->volume_of_mount);
  if (!best || !first || !table->volumes || !table->volume_of_mount || group_mounts(&table->mounts, first) < 0)
    return -ENOMEM;
  for (size_t i = 0; i < mount_count; i++) {
    if (first[i] != i) {
      size_t v = table->volume_of_mount[i] = table->volume_of_mount[first[i]];
      if (shows_more(table, &table->mounts.entries[i], &table->mounts.entries[best[v]]))
        best[v] = i;
      continue;
    }
    table->volumes[table->count].key = make_key(&table->mounts.entries[i]);
    if (!table->volumes[table->count].key)
      return -ENOMEM;
    best[table->count] = i;
    table->volume_of_mount[i] = table->count++;
  }
  for (size_t v = 0; v < table->count; v++) {
    int r = fill_volume(table, &table->mounts.entries[best[v]], &table->volumes[v]);
    if (r < 0)
      return r;
  }
  return 0;
}

int volume_table_parse(FILE *mountinfo, const struct places *places, struct volume_table **ret,
                       struct umbra_error *err) {
  CLEANUP(cleanup_table) struct volume_table *table = calloc(1, sizeof *table);
  if (!table)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing the volumes");
  table->places = places;
  table->can_freeze = freezable_by_us(places);
  int r = mounts_parse(mountinfo, "mountinfo", &table->mounts, err);
  if (r < 0)
    return r;
  r = make_volumes(table);
  if (r < 0)
    return error_code(err, r, "listing the volumes");
  *ret = take_pointer(table);
  return 0;
}

int volume_table_load(struct volume_table **ret, struct umbra_error *err) {
  CLEANUP_FCLOSE FILE *file = fopen("/proc/self/mountinfo", "re");
  if (!file)
    return error_errno(err, "opening '/proc/self/mountinfo' (is /proc mounted?)");
  return volume_table_parse(file, &places_live, ret, err);
}

static int mount_id_from_fdinfo(int fd) {
  char path[64], line[128];
  (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  CLEANUP_FCLOSE FILE *file = fopen(path, "re");
  if (!file)
    return -errno;
  int id;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "mnt_id: %d", &id) == 1)
      return id;
  return -ENODATA;
}

int volume_mount_id(int fd) {
  struct statx stx;
  /* Linux before 5.8 answers without STATX_MNT_ID; fdinfo has it since 3.15. */
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) == 0 && stx.stx_mask & STATX_MNT_ID &&
      stx.stx_mnt_id <= INT_MAX)
    return (int)stx.stx_mnt_id;
  return mount_id_from_fdinfo(fd);
}

/* A descriptor that names the file without opening it. Directories first: only so an automount below it is triggered.
 */
static int open_name(const char *path) {
  int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == ENOTDIR)
    fd = open(path, O_PATH | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int name_of_descriptor(int fd, char **ret) {
  char link[FD_PROC_PATH_BYTES];
  CLEANUP_FREE char *path = malloc(PATH_MAX + 1);
  if (!path)
    return -ENOMEM;
  ssize_t n = readlink(fd_proc_path(fd, link), path, PATH_MAX);
  if (n < 0)
    return -errno;
  if (n >= PATH_MAX)
    return -ENAMETOOLONG;
  path[n] = 0;
  if (path[0] != '/')
    return -ENOENT;
  *ret = take_pointer(path);
  return 0;
}

/* Where a path seen through mount shows up below the volume's own mount point. 0 with *ret NULL: it does not. */
static int translate(const struct mount_entry *mount, const struct volume *volume, const char *path, char **ret) {
  *ret = NULL;
  if (mount->id == volume->mount_id || !path_is_below(path, mount->target) ||
      !path_is_below(mount->root, volume->fs_root))
    return 0;
  const char *at = strcmp(volume->mount_point, "/") == 0 ? "" : volume->mount_point;
  const char *between = mount->root + (strcmp(volume->fs_root, "/") == 0 ? 0 : strlen(volume->fs_root));
  const char *rest = path + (strcmp(mount->target, "/") == 0 ? 0 : strlen(mount->target));
  if (strcmp(between, "/") == 0)
    between = "";
  if (strcmp(rest, "/") == 0)
    rest = "";
  const char *root = *at || *between || *rest ? "" : "/";
  if (asprintf(ret, "%s%s%s%s", at, between, rest, root) >= 0)
    return 0;
  *ret = NULL;
  return -ENOMEM;
}

int volume_table_lookup(const struct volume_table *table, const char *path, const struct volume **ret,
                        char **ret_path, struct umbra_error *err) {
  CLEANUP_FREE char *canonical = NULL;
  CLEANUP_CLOSE int fd = open_name(path);
  if (fd < 0)
    return error_code(err, fd, "looking up '%s'", path);
  int id = volume_mount_id(fd);
  if (id < 0)
    return error_code(err, id, "finding the mount that holds '%s'", path);
  int r = name_of_descriptor(fd, &canonical);
  if (r < 0)
    return error_code(err, r, "finding the full path of '%s'", path);
  for (size_t i = 0; i < table->mounts.count; i++) {
    if (table->mounts.entries[i].id != id)
      continue;
    const struct volume *volume = &table->volumes[table->volume_of_mount[i]];
    CLEANUP_FREE char *translated = NULL;
    if (translate(&table->mounts.entries[i], volume, canonical, &translated) < 0)
      return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "looking up '%s'", path);
    if (ret_path)
      *ret_path = translated ? take_pointer(translated) : take_pointer(canonical);
    *ret = volume;
    return 0;
  }
  return error_set(
      err, -ENODEV, UMBRA_REASON_NOT_FOUND,
      "'%s' lies on a mount that '/proc/self/mountinfo' does not show: mounted just now, or outside this "
      "root directory",
      path);
}

int volume_path_in_filesystem(const struct volume *volume, const char *path, char **ret, struct umbra_error *err) {
  if (!path_is_below(path, volume->mount_point))
    return error_set(err, -EXDEV, UMBRA_REASON_INVALID, "'%s' does not lie below the volume's mount point '%s'", path,
                     volume->mount_point);
  const char *rest = path + (strcmp(volume->mount_point, "/") == 0 ? 0 : strlen(volume->mount_point));
  rest += strspn(rest, "/");
  const char *root = strcmp(volume->fs_root, "/") == 0 ? "" : volume->fs_root;
  const char *slash = *rest || !*root ? "/" : "";
  if (asprintf(ret, "%s%s%s", root, slash, rest) < 0) {
    *ret = NULL;
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "path '%s'", path);
  }
  return 0;
}

int volume_open(const struct volume *volume, struct umbra_error *err) {
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  CLEANUP_CLOSE int fd = open(volume->mount_point, flags | O_NOATIME);
  /* O_NOATIME is for owners and root only. */
  if (fd < 0 && errno == EPERM)
    fd = open(volume->mount_point, flags);
  if (fd < 0)
    return error_errno(err, "opening volume '%s'", volume->mount_point);
  int id = volume_mount_id(fd);
  if (id < 0)
    return error_code(err, id, "finding the mount at '%s'", volume->mount_point);
  if (id != volume->mount_id)
    return error_set(err, -ESTALE, UMBRA_REASON_BUSY,
                     "volume '%s' (%s on '%s') is no longer what is mounted there: it was unmounted or something was "
                     "mounted over it",
                     volume->mount_point, volume->fs_type, volume->source);
  return take_fd(&fd);
}
