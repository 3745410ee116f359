/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/sqlite/databases.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* How long one is waited for while others are held. */
enum { OTHER_WAIT_MS = 100 };

char *databases_key(const struct found *found, size_t count) {
  CLEANUP_JSON json_t *paths = json_array();
  for (size_t i = 0; i < count; i++)
    if (json_array_append_new(paths, json_path(found[i].path)) < 0)
      return NULL;
  CLEANUP_JSON json_t *key = json_pack("{s:I, s:I, s:O}", "user", (json_int_t)found->user, "group",
                                       (json_int_t)found->group, "databases", paths);
  return key ? json_dumps(key, JSON_COMPACT) : NULL;
}

int databases_from_key(const char *key, struct databases *ret, struct umbra_error *err) {
  *ret = (struct databases){0};
  CLEANUP_JSON json_t *json = NULL;
  json_int_t user, group;
  int r = json_parse(key, strlen(key), "the databases of the instance", &json, err);
  if (r < 0)
    return r;
  r = json_get_integer(json, "user", &user, err);
  if (r == 0)
    r = json_get_integer(json, "group", &group, err);
  if (r < 0)
    return r;
  const json_t *paths = json_object_get(json, "databases");
  size_t count = json_array_size(paths);
  if (user < 0 || group < 0 || user >= UINT32_MAX || group >= UINT32_MAX || count > SQLITE_DATABASES_MAX)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the databases of the instance are not what identify said");
  ret->user = (uid_t)user;
  ret->group = (gid_t)group;
  ret->list = calloc(count + 1, sizeof *ret->list);
  if (!ret->list)
    return error_code(err, -ENOMEM, "taking the databases of the instance");
  for (; ret->count < count; ret->count++) {
    r = json_path_value(json_array_get(paths, ret->count), &ret->list[ret->count].database.path);
    if (r < 0)
      return error_code(err, r, "taking the databases of the instance");
  }
  return 0;
}

void databases_close(struct databases *all) {
  databases_unlock(all);
  for (size_t i = 0; i < all->count; i++)
    database_close(&all->list[i].database);
}

void databases_done(struct databases *all) {
  databases_close(all);
  for (size_t i = 0; i < all->count; i++)
    free(all->list[i].database.path);
  free(all->list);
  *all = (struct databases){0};
}

/* The volume's mount, or the same filesystem mounted elsewhere. (Subvolumes of one mount have devices of their own.)
 */
static bool on_volume(const struct statx *file, const char *mount_point) {
  struct statx volume;
  if (statx(AT_FDCWD, mount_point, AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID, &volume) < 0)
    return false;
  return (volume.stx_mask & file->stx_mask & STATX_MNT_ID && volume.stx_mnt_id == file->stx_mnt_id) ||
         (volume.stx_dev_major == file->stx_dev_major && volume.stx_dev_minor == file->stx_dev_minor);
}

static bool below(const char *path, const char *above) {
  size_t length = strcmp(above, "/") == 0 ? 0 : strlen(above);
  return strncmp(path, above, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool in_shadow(const char *path, const struct statx *file, const json_t *shadow) {
  CLEANUP_FREE char *mount_point = NULL;
  const json_t *paths = json_object_get(shadow, "paths");
  if (json_path_value(json_object_get(shadow, "volume"), &mount_point) < 0 || !on_volume(file, mount_point))
    return false;
  bool inside = json_array_size(paths) == 0;
  for (size_t i = 0; !inside && i < json_array_size(paths); i++) {
    CLEANUP_FREE char *above = NULL;
    inside = json_path_value(json_array_get(paths, i), &above) == 0 && below(path, above);
  }
  return inside;
}

int databases_keep_of_set(struct databases *all, const char *document, struct umbra_error *err) {
  CLEANUP_JSON json_t *json = NULL;
  int r = json_parse(document, strlen(document), "the set's document", &json, err);
  if (r < 0)
    return r;
  const json_t *set = json_object_get(json, "set"), *shadows = json_object_get(set, "shadows");
  all->one_instant = strcmp(json_get_string_or(set, "instant", ""), "set") == 0;
  size_t kept = 0;
  for (size_t i = 0; i < all->count; i++) {
    struct statx file;
    struct database_entry one = all->list[i];
    bool is_there =
        statx(AT_FDCWD, one.database.path, AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID, &file) == 0;
    bool keep = false;
    for (size_t k = 0; is_there && !keep && k < json_array_size(shadows); k++)
      keep = in_shadow(one.database.path, &file, json_array_get(shadows, k));
    if (keep)
      all->list[kept++] = one;
    else
      free(one.database.path);
  }
  all->count = kept;
  return 0;
}

void databases_unlock(struct databases *all) {
  for (size_t i = 0; i < all->count; i++)
    database_unlock(&all->list[i].database);
}

/* The first is held. 0, or -EBUSY with the one that is in the way, or another failure. */
static int lock_others(struct databases *all, size_t first, int64_t deadline_ns, size_t *ret_in_the_way,
                       struct umbra_error *err) {
  for (size_t i = 0; i < all->count; i++) {
    struct database_entry *e = &all->list[i];
    if (i == first || e->skipped)
      continue;
    int64_t now = clock_monotonic_ns(), until = now + OTHER_WAIT_MS * NS_PER_MS;
    int r = database_lock(&e->database, e->impatient ? now : until < deadline_ns ? until : deadline_ns, err);
    if (r == -EBUSY && (e->impatient || clock_monotonic_ns() >= deadline_ns)) {
      e->skipped = true;
    } else if (r < 0) {
      *ret_in_the_way = i;
      return r;
    }
  }
  return 0;
}

int databases_lock(struct databases *all, int64_t deadline_ns, struct umbra_error *err) {
  /* The one that was in the way is waited for next, with none held; so whoever has it and wants another of ours ends.
   */
  for (size_t first = 0; first < all->count;) {
    struct database_entry *e = &all->list[first];
    int r = e->skipped ? 0 : database_lock(&e->database, e->impatient ? clock_monotonic_ns() : deadline_ns, err);
    if (r == -EBUSY)
      e->skipped = true;
    else if (r < 0)
      return r;
    size_t in_the_way = 0;
    r = lock_others(all, first, deadline_ns, &in_the_way, err);
    if (r == 0)
      return 0;
    databases_unlock(all);
    if (r != -EBUSY)
      return r;
    first = in_the_way;
  }
  return 0;
}
