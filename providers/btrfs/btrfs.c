/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * btrfs: shadow copies as snapshots of subvolumes, the volume's own and every one nested below it (DESIGN.md).
 *
 * Nothing is frozen: a snapshot is made by committing a transaction, which a frozen filesystem could not do.  The
 * kernel writes the subvolume's dirty files out first and then makes the snapshot within one transaction.
 */
#include "providers/btrfs/btrfs.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"
#include "providers/btrfs/btrfs-batch.h"
#include "providers/btrfs/btrfs-place.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { ONE_INSTANT_TRIES = 3 };

struct btrfs_state {
  int root_fd;   /* the volume's root in a mount of our own, in which nothing is mounted over any part of it */
  int target_fd; /* .umbra/ID */
  char **paths;  /* of the subvolumes: "" first, then the nested ones */
  struct btrfs_batch *batch;
  unsigned tries;
};

static int root_is_subvolume(const struct volume *volume, int fd, struct umbra_error *why) {
  if (btrfs_util_is_subvolume_fd(fd) == BTRFS_UTIL_OK)
    return 0;
  return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                   "'%s' shows the directory '%s' and not the root of its subvolume: btrfs takes snapshots of whole "
                   "subvolumes, so mount that somewhere, too",
                   volume->mount_point, volume->fs_root);
}

/* The kernel refuses a snapshot while a swap file of the subvolume is in use; found here to say so before anything
 * starts. */
static int no_swap_file(const struct volume *volume, int fd, struct umbra_error *why) {
  struct stat root, file;
  CLEANUP_FCLOSE FILE *swaps = fopen("/proc/swaps", "re");
  char line[4096 + 128];
  if (!swaps || fstat(fd, &root) < 0)
    return 0;
  while (fgets(line, sizeof line, swaps)) {
    /* Names are escaped as in /proc/mounts, the form that getmntent(3) undoes. */
    char *path = strtok(line, " \t"), *type = strtok(NULL, " \t");
    if (!path || !type || strcmp(type, "file") != 0)
      continue;
    char entry[sizeof line + 16];
    (void)snprintf(entry, sizeof entry, "%s / x x 0 0\n", path);
    CLEANUP_FCLOSE FILE *stream = fmemopen(entry, strlen(entry), "r");
    const struct mntent *decoded = stream ? getmntent(stream) : NULL;
    /* Each subvolume has a device number of its own. */
    if (decoded && stat(decoded->mnt_fsname, &file) == 0 && file.st_dev == root.st_dev)
      return error_set(
          why, -ETXTBSY, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
          "'%s' holds the swap file '%s', which is in use: btrfs takes no snapshot until swapoff, or move "
          "the swap file to a subvolume of its own",
          volume->mount_point, decoded->mnt_fsname);
  }
  return 0;
}

static int btrfs_can_shadow(const struct volume *volume, const char *config_dir, struct umbra_error *why) {
  (void)config_dir;
  struct statvfs vfs;
  if (strcmp(volume->fs_type, "btrfs") != 0)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "it is %s and not btrfs", volume->fs_type);
  if (geteuid() != 0)
    return error_set(why, -EPERM, UMBRA_REASON_ACCESS, "snapshots of subvolumes need root");
  CLEANUP_CLOSE int fd = volume_open(volume, why);
  if (fd < 0)
    return fd;
  if (volume->read_only || (fstatvfs(fd, &vfs) == 0 && vfs.f_flag & ST_RDONLY))
    return error_set(why, -EROFS, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "it is mounted read-only, so no snapshot can be made on it");
  int r = root_is_subvolume(volume, fd, why);
  bool read_only = false;
  if (r >= 0 && btrfs_util_get_subvolume_read_only_fd(fd, &read_only) == BTRFS_UTIL_OK && read_only)
    return error_set(why, -EROFS, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "its subvolume is set read-only: there is no place in it for snapshots");
  return r < 0 ? r : no_swap_file(volume, fd, why);
}

static int list_subvolumes(struct btrfs_state *state, struct umbra_error *err) {
  struct btrfs_util_subvolume_iterator *iterator = NULL;
  strv_free(state->paths);
  state->paths = NULL;
  int r = strv_append(&state->paths, "");
  if (r < 0)
    return error_code(err, r, "listing subvolumes");
  errno = 0;
  if (btrfs_util_create_subvolume_iterator_fd(state->root_fd, 0, 0, &iterator) != BTRFS_UTIL_OK)
    return error_errno(err, "listing subvolumes");
  for (size_t count = 1;;) {
    CLEANUP_FREE char *path = NULL;
    errno = 0;
    enum btrfs_util_error e = btrfs_util_subvolume_iterator_next(iterator, &path, NULL);
    if (e == BTRFS_UTIL_ERROR_STOP_ITERATION)
      break;
    if (e != BTRFS_UTIL_OK)
      r = error_errno(err, "listing subvolumes");
    else if (btrfs_place_contains(path))
      continue;
    else if (++count > BTRFS_BATCH_SUBVOLUMES_MAX)
      r = error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d nested subvolumes", BTRFS_BATCH_SUBVOLUMES_MAX);
    else if (strv_append(&state->paths, path) < 0)
      r = error_code(err, -ENOMEM, "listing subvolumes");
    if (r < 0)
      break;
  }
  btrfs_util_destroy_subvolume_iterator(iterator);
  return r;
}

/* What remove() needs: which filesystem, and where on it, however it is mounted by then. */
static int fill_record(struct shadow *s, int root_fd, struct umbra_error *err) {
  char uuid[BTRFS_UUID_TEXT_BYTES];
  int r = btrfs_place_filesystem_uuid(root_fd, uuid);
  if (r < 0)
    return error_code(err, r, "asking volume '%s' for its UUID", s->volume->mount_point);
  CLEANUP_JSON json_t *values =
      json_pack("{s:s, s:s, s:o, s:o}", "id", s->id, "filesystem_uuid", uuid, "mount_point",
                json_path(s->volume->mount_point), "fs_root", json_path(s->volume->fs_root));
  if (!values || json_object_update(s->record, values) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "recording the snapshot");
  return 0;
}

static int btrfs_prepare(struct shadow *s, struct umbra_error *err) {
  struct btrfs_state *state = calloc(1, sizeof *state);
  if (!state)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing a snapshot");
  s->state = state;
  state->root_fd = state->target_fd = -1;
  state->root_fd = open_tree(s->volume_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (state->root_fd < 0)
    return error_errno(err, "opening the volume '%s' beneath all mounts", s->volume->mount_point);
  /* What open_tree() gives is a path only; ioctls need an open directory. */
  int fd = openat(state->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
  if (fd < 0)
    return error_errno(err, "opening the volume '%s'", s->volume->mount_point);
  (void)close(state->root_fd);
  state->root_fd = fd;
  int r = root_is_subvolume(s->volume, fd, err);
  if (r >= 0)
    r = fill_record(s, fd, err);
  if (r >= 0)
    r = s->services->save(s, err);
  if (r < 0)
    return r;
  s->services->progress(s, "snapshot", 0, 0);
  state->target_fd = btrfs_place_make(fd, s->id, err);
  return state->target_fd < 0 ? state->target_fd : 0;
}

static int btrfs_precommit(struct shadow *s, struct umbra_error *err) {
  struct btrfs_state *state = s->state;
  if (state->batch) {
    /* Once more: the snapshots of the last try are not wanted. */
    btrfs_batch_free(state->batch);
    state->batch = NULL;
    (void)close(state->target_fd);
    state->target_fd = -1;
    int r = btrfs_place_remove(state->root_fd, s->id, err);
    if (r < 0)
      return r;
    state->target_fd = btrfs_place_make(state->root_fd, s->id, err);
    if (state->target_fd < 0)
      return state->target_fd;
  }
  int r = list_subvolumes(state, err);
  if (r < 0)
    return error_prefix(err, r, "volume '%s'", s->volume->mount_point);
  /* Each snapshot first writes its subvolume's dirty files out; with several that would pull their instants apart. */
  if (strv_count(state->paths) > 1 && syncfs(state->root_fd) < 0)
    return error_errno(err, "writing out volume '%s'", s->volume->mount_point);
  return btrfs_batch_new(state->root_fd, state->target_fd, state->paths, shadow_is_changed(s), &state->batch, err);
}

static int btrfs_commit(struct shadow *s, struct umbra_error *err) {
  struct btrfs_state *state = s->state;
  int r = btrfs_batch_run(state->batch, state->tries > 0, err);
  if (r < 0)
    return error_prefix(err, r, "volume '%s'", s->volume->mount_point);
  int one = btrfs_batch_one_instant(state->batch, err);
  if (one < 0)
    return one;
  s->instant_lost = one == 0;
  if (one == 0 && ++state->tries < ONE_INSTANT_TRIES)
    return error_set(err, -EAGAIN, UMBRA_REASON_BUSY,
                     "nested subvolumes were changed while their snapshots were taken");
  return 0;
}

static int add_nested(const struct btrfs_state *state, const char *directory, json_t *nested) {
  for (size_t i = 1; state->paths[i]; i++) {
    if (!btrfs_batch_made(state->batch, i))
      continue;
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/%zu/" BTRFS_PLACE_TREE, directory, i) < 0) {
      path = NULL;
      return -ENOMEM;
    }
    json_t *entry = json_pack("{s:o, s:o}", "at", json_path(state->paths[i]), "path", json_path(path));
    if (!entry || json_array_append_new(nested, entry) < 0)
      return -ENOMEM;
  }
  return 0;
}

static int btrfs_postcommit(struct shadow *s, struct umbra_error *err) {
  const struct btrfs_state *state = s->state;
  const char *at = strcmp(s->volume->mount_point, "/") == 0 ? "" : s->volume->mount_point;
  CLEANUP_FREE char *directory = NULL, *path = NULL;
  if (asprintf(&directory, "%s/" BTRFS_PLACE_NAME "/%s", at, s->id) < 0)
    directory = NULL;
  if (!directory || asprintf(&path, "%s/0/" BTRFS_PLACE_TREE, directory) < 0)
    path = NULL;
  json_t *nested = json_array();
  if (!path || !nested || add_nested(state, directory, nested) < 0) {
    json_decref(nested);
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  }
  json_t *view = json_pack("{s:s, s:b, s:o, s:b, s:o}", "kind", "tree", "no_symlinks", true, "path", json_path(path),
                           "read_write", shadow_is_changed(s), "nested", nested);
  if (!view || json_object_set_new(s->record, "view", view) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  return 0;
}

static int btrfs_seal(struct shadow *s, struct umbra_error *err) {
  const struct btrfs_state *state = s->state;
  int r = s->read_write ? 0 : btrfs_batch_seal(state->batch, err);
  return r < 0 ? r : shadow_seal_view(s, err);
}

static void btrfs_release_state(struct shadow *s) {
  struct btrfs_state *state = s->state;
  if (!state)
    return;
  btrfs_batch_free(state->batch);
  if (state->root_fd >= 0)
    (void)close(state->root_fd);
  if (state->target_fd >= 0)
    (void)close(state->target_fd);
  strv_free(state->paths);
  free(state);
  s->state = NULL;
}

/* ---- removal, perhaps by another process at another time ---- */

struct btrfs_record {
  const char *id, *uuid;
  char *mount_point, *fs_root;
};

static void done_record(struct btrfs_record *r) {
  free(r->mount_point);
  free(r->fs_root);
}

static int read_record(const json_t *json, struct btrfs_record *ret, struct umbra_error *err) {
  int r = json_get_string(json, "id", &ret->id, err);
  if (r >= 0)
    r = json_get_string(json, "filesystem_uuid", &ret->uuid, err);
  if (r < 0)
    return error_prefix(err, r, "the snapshot's record");
  if (json_path_value(json_object_get(json, "mount_point"), &ret->mount_point) < 0 ||
      json_path_value(json_object_get(json, "fs_root"), &ret->fs_root) < 0)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "the snapshot's record says not where it is");
  if (strchr(ret->id, '/') || ret->id[0] == '.' || ret->id[0] == 0)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "the snapshot's record has the impossible id '%s'",
                     ret->id);
  return 0;
}

/* The subvolume's directory through this mount, if it shows it and is the same filesystem. -ENOENT otherwise. */
static int open_recorded_root(const struct volume *volume, const struct btrfs_record *record) {
  char uuid[BTRFS_UUID_TEXT_BYTES];
  size_t length = strcmp(volume->fs_root, "/") == 0 ? 0 : strlen(volume->fs_root);
  if (strcmp(volume->fs_type, "btrfs") != 0 || strncmp(record->fs_root, volume->fs_root, length) != 0 ||
      (record->fs_root[length] != '/' && record->fs_root[length] != 0))
    return -ENOENT;
  CLEANUP_CLOSE int fd = volume_open(volume, NULL);
  if (fd < 0 || btrfs_place_filesystem_uuid(fd, uuid) < 0 || strcmp(uuid, record->uuid) != 0)
    return -ENOENT;
  const char *rest = record->fs_root + length;
  rest += strspn(rest, "/");
  return *rest ? btrfs_place_open_below(fd, rest) : take_fd(&fd);
}

static int refuse_if_shown(const struct volume_table *table, dev_t device, const struct btrfs_record *record,
                           struct umbra_error *err) {
  CLEANUP_FREE char *place = NULL;
  const char *root = strcmp(record->fs_root, "/") == 0 ? "" : record->fs_root;
  if (asprintf(&place, "%s/" BTRFS_PLACE_NAME "/%s/", root, record->id) < 0) {
    place = NULL;
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "removing a snapshot");
  }
  for (size_t i = 0; i < volume_table_count(table); i++) {
    const struct volume *volume = volume_table_get(table, i);
    if (volume->device == device && strncmp(volume->fs_root, place, strlen(place)) == 0)
      return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "the shadow copy is mounted at '%s'", volume->mount_point);
  }
  return 0;
}

static void cleanup_volume_table(struct volume_table **table) { volume_table_free(*table); }

static int btrfs_remove(const json_t *json, struct umbra_error *err) {
  /* Nothing was recorded, so nothing was made. */
  if (!json_object_get(json, "id"))
    return 0;
  CLEANUP(done_record) struct btrfs_record record = {0};
  CLEANUP(cleanup_volume_table) struct volume_table *table = NULL;
  int r = read_record(json, &record, err);
  if (r >= 0)
    r = volume_table_load(&table, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < volume_table_count(table); i++) {
    const struct volume *volume = volume_table_get(table, i);
    CLEANUP_CLOSE int root_fd = open_recorded_root(volume, &record);
    if (root_fd < 0)
      continue;
    r = refuse_if_shown(table, volume->device, &record, err);
    if (r >= 0)
      r = btrfs_place_remove(root_fd, record.id, err);
    /* Another mount of it may be writable. */
    if (r != -EROFS)
      return r;
  }
  if (r == -EROFS)
    return r;
  return error_set(err, -ENODEV, UMBRA_REASON_NOT_FOUND,
                   "the btrfs filesystem %s, once at '%s', is not mounted: mount it and try again, or delete the "
                   "subvolumes in '%s/%s/%s' of it yourself",
                   record.uuid, record.mount_point, strcmp(record.fs_root, "/") == 0 ? "" : record.fs_root,
                   BTRFS_PLACE_NAME, record.id);
}

const struct provider btrfs_provider = {
    .name = "btrfs",
    .summary = "read-only snapshots of btrfs subvolumes: instant, nothing is copied or frozen",
    .hold = PROVIDER_HOLD_SELF,
    .instant = true,
    .can_persist = true,
    .can_read_write = true,
    .can_shadow = btrfs_can_shadow,
    .prepare = btrfs_prepare,
    .precommit = btrfs_precommit,
    .commit = btrfs_commit,
    .postcommit = btrfs_postcommit,
    .seal = btrfs_seal,
    .release_state = btrfs_release_state,
    .remove = btrfs_remove,
    .own_storage = "on the filesystem itself, as snapshots have to",
};
