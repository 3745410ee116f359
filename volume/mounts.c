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

static int compare_ids(const void *a, const void *b) {
  int x = (*(const struct mount_entry *const *)a)->id, y = (*(const struct mount_entry *const *)b)->id;
  return x < y ? -1 : x > y;
}

static int compare_places(const void *a, const void *b) {
  const struct mount_entry *x = *(const struct mount_entry *const *)a, *y = *(const struct mount_entry *const *)b;
  if (x->parent_id != y->parent_id)
    return x->parent_id < y->parent_id ? -1 : 1;
  return strcmp(x->target, y->target);
}

/* Is anything mounted on parent at target? places is ordered by compare_places(). */
static bool is_mounted(const struct mount_entry **places, size_t count, int parent_id, char *target) {
  const struct mount_entry key = {.parent_id = parent_id, .target = target}, *wanted = &key;
  return bsearch(&wanted, places, count, sizeof *places, compare_places) != NULL;
}

/* Something on its own root, or a sibling on a directory above its mount point. */
static bool is_covered(const struct mount_entry **places, size_t count, const struct mount_entry *entry) {
  if (is_mounted(places, count, entry->id, entry->target))
    return true;
  CLEANUP_FREE char *above = strdup(entry->target);
  for (char *slash = above ? strrchr(above, '/') : NULL; slash && strlen(above) > 1; slash = strrchr(above, '/')) {
    slash[slash == above] = 0; /* "/" stays "/" */
    if (is_mounted(places, count, entry->parent_id, above))
      return true;
  }
  return false;
}

/* Children of hidden mounts, however deep; a parent may come later in the list than its children. */
static bool hangs_below_hidden(const struct mounts *mounts, const struct mount_entry *entry) {
  for (size_t steps = 0; steps < mounts->count; steps++) {
    const struct mount_entry *parent = mounts_find(mounts, entry->parent_id);
    if (!parent || parent == entry)
      return false;
    /* The one that covers its parent is what the path shows, if the parent could be seen but for it. */
    bool covers = strcmp(entry->target, parent->target) == 0;
    if (parent->hidden && !covers)
      return true;
    entry = parent;
  }
  return false;
}

static int find_hidden(struct mounts *mounts) {
  size_t count = mounts->count;
  CLEANUP_FREE const struct mount_entry **places = calloc(count + 1, sizeof *places);
  CLEANUP_FREE bool *below = calloc(count + 1, sizeof *below);
  mounts->by_id = calloc(count + 1, sizeof *mounts->by_id);
  if (!places || !below || !mounts->by_id)
    return -ENOMEM;
  size_t place_count = 0;
  for (size_t i = 0; i < count; i++) {
    mounts->by_id[i] = &mounts->entries[i];
    /* The first of all may be its own parent; it is mounted on nothing. */
    if (mounts->entries[i].id != mounts->entries[i].parent_id)
      places[place_count++] = &mounts->entries[i];
  }
  qsort(places, place_count, sizeof *places, compare_places);
  qsort(mounts->by_id, count, sizeof *mounts->by_id, compare_ids);
  for (size_t i = 0; i < count; i++)
    mounts->entries[i].hidden = is_covered(places, place_count, &mounts->entries[i]);
  for (size_t i = 0; i < count; i++)
    below[i] = hangs_below_hidden(mounts, &mounts->entries[i]);
  for (size_t i = 0; i < count; i++)
    mounts->entries[i].hidden = mounts->entries[i].hidden || below[i];
  return 0;
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
  return find_hidden(ret) < 0 ? error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading '%s'", name) : 0;
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
  free(mounts->by_id);
  *mounts = (struct mounts){0};
}

const struct mount_entry *mounts_find(const struct mounts *mounts, int mount_id) {
  const struct mount_entry key = {.id = mount_id}, *wanted = &key;
  const struct mount_entry **found =
      bsearch(&wanted, mounts->by_id, mounts->count, sizeof *mounts->by_id, compare_ids);
  return found ? *found : NULL;
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
