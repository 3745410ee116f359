/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads mountinfo through libmount and works out which mounts can be reached at all.
 *
 * A mount is hidden when something lies over it: a child on its own root, or a sibling (same parent) mounted later on
 * a directory above its mount point. What hangs below a hidden mount is hidden too, except the child that covers it:
 * that one is what the path shows. Names decide nothing else here.
 */
#include "volume/mounts.h"

#include "common/cleanup.h"

#include <errno.h>
#include <libmount.h>
#include <stdlib.h>
#include <string.h>

static void cleanup_mount_table(struct libmnt_table **table) { mnt_unref_table(*table); }
static void cleanup_mount_iterator(struct libmnt_iter **iterator) { mnt_free_iter(*iterator); }

bool path_is_below(const char *path, const char *directory) {
  size_t length = strlen(directory);
  if (length == 1 && directory[0] == '/')
    return path[0] == '/';
  return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == 0);
}

bool mount_option(const struct mount_entry *mount, const char *name, char **ret) {
  char *value = NULL;
  size_t length = 0;
  if (!mount->options || mnt_optstr_get_option(mount->options, name, &value, &length) != 0)
    return false;
  if (ret)
    *ret = strndup(value ? value : "", value ? length : 0);
  return true;
}

static char *copy_or_empty(const char *text) { return strdup(text ? text : ""); }

static int fill_entry(struct libmnt_fs *fs, struct mount_entry *entry) {
  *entry = (struct mount_entry){
      .id = mnt_fs_get_id(fs),
      .parent_id = mnt_fs_get_parent_id(fs),
      .device = mnt_fs_get_devno(fs),
      .root = copy_or_empty(mnt_fs_get_root(fs)),
      .target = copy_or_empty(mnt_fs_get_target(fs)),
      .fs_type = copy_or_empty(mnt_fs_get_fstype(fs)),
      .source = copy_or_empty(mnt_fs_get_source(fs)),
      .options = copy_or_empty(mnt_fs_get_fs_options(fs)),
  };
  if (!entry->root || !entry->target || !entry->fs_type || !entry->source || !entry->options)
    return -ENOMEM;
  if (strcmp(entry->fs_type, "btrfs") != 0)
    return 0;
  if (!mount_option(entry, "subvol", &entry->subvolume))
    entry->subvolume = strdup("/");
  return entry->subvolume ? 0 : -ENOMEM;
}

static struct mount_entry *find_mutable(struct mounts *mounts, int mount_id) {
  for (size_t i = 0; i < mounts->count; i++)
    if (mounts->entries[i].id == mount_id)
      return &mounts->entries[i];
  return NULL;
}

static bool covers(const struct mount_entry *upper, const struct mount_entry *lower) {
  if (upper->parent_id == lower->id)
    return strcmp(upper->target, lower->target) == 0;
  return upper->parent_id == lower->parent_id && strlen(upper->target) < strlen(lower->target) &&
         path_is_below(lower->target, upper->target);
}

static void find_hidden(struct mounts *mounts) {
  for (size_t i = 0; i < mounts->count; i++)
    for (size_t j = 0; j < mounts->count; j++)
      if (i != j && covers(&mounts->entries[j], &mounts->entries[i]))
        mounts->entries[i].hidden = true;
  /* Children of hidden mounts, until nothing changes; parents may come later in the list than their children. */
  for (bool again = true; again;) {
    again = false;
    for (size_t i = 0; i < mounts->count; i++) {
      struct mount_entry *entry = &mounts->entries[i];
      const struct mount_entry *parent = find_mutable(mounts, entry->parent_id);
      if (entry->hidden || !parent || parent == entry || !parent->hidden || covers(entry, parent))
        continue;
      entry->hidden = again = true;
    }
  }
}

int mounts_parse(FILE *file, const char *name, struct mounts *ret, struct umbra_error *err) {
  *ret = (struct mounts){0};
  CLEANUP(cleanup_mount_table) struct libmnt_table *table = mnt_new_table();
  CLEANUP(cleanup_mount_iterator) struct libmnt_iter *iterator = mnt_new_iter(MNT_ITER_FORWARD);
  if (!table || !iterator)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading '%s'", name);
  int r = mnt_table_parse_stream(table, file, name);
  if (r != 0)
    return error_set(err, r < 0 ? r : -EBADMSG, UMBRA_REASON_INTERNAL, "reading the mounts in '%s'", name);
  int nents = mnt_table_get_nents(table);
  if (nents < 0 || nents > MOUNTS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "'%s' has more than %d mounts", name, MOUNTS_MAX);
  ret->entries = calloc((size_t)nents + 1, sizeof *ret->entries);
  if (!ret->entries)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading '%s'", name);
  struct libmnt_fs *fs;
  while (ret->count < (size_t)nents && mnt_table_next_fs(table, iterator, &fs) == 0)
    if (fill_entry(fs, &ret->entries[ret->count++]) < 0)
      return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading '%s'", name);
  find_hidden(ret);
  return 0;
}

void mounts_done(struct mounts *mounts) {
  for (size_t i = 0; i < mounts->count; i++) {
    struct mount_entry *entry = &mounts->entries[i];
    free(entry->root);
    free(entry->target);
    free(entry->fs_type);
    free(entry->source);
    free(entry->options);
    free(entry->subvolume);
  }
  free(mounts->entries);
  *mounts = (struct mounts){0};
}

const struct mount_entry *mounts_find(const struct mounts *mounts, int mount_id) {
  for (size_t i = 0; i < mounts->count; i++)
    if (mounts->entries[i].id == mount_id)
      return &mounts->entries[i];
  return NULL;
}

const struct mount_entry *mounts_find_by_name(const struct mounts *mounts, const char *path) {
  const struct mount_entry *best = NULL;
  for (size_t i = 0; i < mounts->count; i++) {
    const struct mount_entry *entry = &mounts->entries[i];
    if (entry->hidden || !path_is_below(path, entry->target))
      continue;
    if (!best || strlen(entry->target) > strlen(best->target))
      best = entry;
  }
  return best;
}
