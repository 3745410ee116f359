/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/catalog.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int open_sets(const char *state_dir, int *ret, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/sets", state_dir) < 0)
    return error_code(err, -ENOMEM, "opening the catalogue");
  *ret = fd_open_directory(path);
  return *ret < 0 ? error_code(err, *ret, "opening the catalogue '%s'", path) : 0;
}

int catalog_put(const char *state_dir, const char *id, const json_t *entry, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = -1;
  char name[64];
  int r = open_sets(state_dir, &fd, err);
  if (r < 0)
    return r;
  (void)snprintf(name, sizeof name, "%s.json", id);
  r = json_write_file(fd, name, entry, 0600, true, err);
  return r < 0 ? error_prefix(err, r, "catalogue entry of set %s", id) : 0;
}

int catalog_remove(const char *state_dir, const char *id, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = -1;
  char name[64];
  int r = open_sets(state_dir, &fd, err);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  (void)snprintf(name, sizeof name, "%s.json", id);
  if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
    return error_errno(err, "removing catalogue entry '%s'", name);
  return 0;
}

static bool whole(const json_t *entry, const char *id) {
  const json_t *set = json_object_get(entry, "set");
  return json_is_array(json_object_get(set, "shadows")) && json_is_object(json_object_get(entry, "records")) &&
         strcmp(json_get_string_or(set, "id", ""), id) == 0 && json_is_string(json_object_get(set, "created"));
}

/* Keeps the array in order of creation; the times are RFC 3339 in UTC, so text order is time order. */
static int insert_by_time(json_t *entries, json_t *entry) {
  const char *created = json_get_string_or(json_object_get(entry, "set"), "created", "");
  size_t at = json_array_size(entries);
  while (at > 0 && strcmp(json_get_string_or(json_object_get(json_array_get(entries, at - 1), "set"), "created", ""),
                          created) > 0)
    at--;
  return json_array_insert_new(entries, at, entry);
}

/* Takes one file of the catalogue in: into entries, or by name into damaged. */
static int load_file(int directory_fd, const char *name, json_t *entries, json_t *damaged, struct umbra_error *err) {
  char id[ID_TEXT_BYTES];
  if (strlen(name) != ID_TEXT_BYTES - 1 + 5 || strcmp(name + ID_TEXT_BYTES - 1, ".json") != 0)
    return 0;
  memcpy(id, name, ID_TEXT_BYTES - 1);
  id[ID_TEXT_BYTES - 1] = 0;
  if (json_array_size(entries) >= CATALOG_SETS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d sets in the catalogue", (int)CATALOG_SETS_MAX);
  json_t *entry = NULL;
  int r = json_read_file(directory_fd, name, &entry, NULL);
  if (r == -ENOENT)
    return 0; /* deleted meanwhile */
  if (r >= 0 && whole(entry, id))
    return insert_by_time(entries, entry) < 0 ? error_code(err, -ENOMEM, "reading the catalogue") : 0;
  json_decref(entry);
  return json_array_append_new(damaged, json_string(name)) < 0 ? error_code(err, -ENOMEM, "reading the catalogue")
                                                               : 0;
}

int catalog_load(const char *state_dir, json_t **ret, json_t **ret_damaged, struct umbra_error *err) {
  CLEANUP_JSON json_t *entries = json_array(), *damaged = json_array();
  CLEANUP_CLOSEDIR DIR *dir = NULL;
  int fd = -1;
  int r = open_sets(state_dir, &fd, NULL);
  if (r >= 0 && !(dir = fdopendir(fd))) {
    (void)close(fd);
    r = -ENOMEM;
  }
  /* No catalogue yet is an empty one. */
  if (r < 0 && r != -ENOENT)
    return error_code(err, r, "reading the catalogue in '%s'", state_dir);
  struct dirent *file;
  while (dir && (file = readdir(dir))) {
    r = load_file(dirfd(dir), file->d_name, entries, damaged, err);
    if (r < 0)
      return r;
  }
  *ret = take_pointer(entries);
  if (ret_damaged)
    *ret_damaged = take_pointer(damaged);
  return 0;
}

int catalog_find(const json_t *entries, const char *text, json_t **ret_borrowed, const char **ret_shadow,
                 struct umbra_error *err) {
  json_t *found = NULL, *entry, *shadow;
  const char *found_shadow = NULL;
  size_t i, j, matches = 0;
  json_array_foreach(entries, i, entry) {
    const json_t *set = json_object_get(entry, "set");
    const char *label = json_get_string_or(set, "label", NULL);
    if (id_matches(json_get_string_or(set, "id", ""), text) || (label && strcmp(label, text) == 0)) {
      found = entry;
      found_shadow = NULL;
      matches++;
      continue;
    }
    json_array_foreach(json_object_get(set, "shadows"), j, shadow) {
      const char *id = json_get_string_or(shadow, "id", "");
      if (!id_matches(id, text))
        continue;
      found = entry;
      found_shadow = id;
      matches++;
    }
  }
  if (matches == 0)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND,
                     "no set or shadow copy '%s' (an id, a unique prefix of %d or more characters, or a label; see: "
                     "umbra list sets)",
                     text, (int)ID_PREFIX_CHARACTERS_MIN);
  if (matches > 1)
    return error_set(err, -EEXIST, UMBRA_REASON_INVALID, "'%s' names %zu sets or shadow copies: use more of the id",
                     text, matches);
  *ret_borrowed = found;
  if (ret_shadow)
    *ret_shadow = found_shadow;
  return 0;
}
