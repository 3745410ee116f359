/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What there is: sets, shadow copies, volumes, providers, writers, storage; and what could be done (doctor). */
#include "libumbra/attached.h"
#include "libumbra/condition.h"
#include "libumbra/handles.h"
#include "libumbra/writers.h"
#include "libumbra/remote.h"
#include "libumbra/reverting.h"

#include "coordinator/catalog.h"
#include "coordinator/journal.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "cow/serve/client.h"
#include "providers/provider.h"
#include "volume/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* ---- sets and shadow copies: the catalogue, and what belongs to a running program ---- */

/* A device is told only while it still lies over the shadow copy's image. */
static bool device_is_there(const char *device, const json_t *record) {
  const char *image = json_get_string_or(json_object_get(record, "view"), "path", "");
  char path[128];
  CLEANUP_FREE char *backing = NULL;
  size_t length = 0;
  if ((size_t)snprintf(path, sizeof path, "/sys/class/block/%s/loop/backing_file", strrchr(device, '/') + 1) >=
          sizeof path ||
      fd_read_file(AT_FDCWD, path, 2 * PATH_MAX, &backing, &length) < 0)
    return false;
  while (length > 0 && backing[length - 1] == '\n')
    backing[--length] = 0;
  return strcmp(backing, image) == 0;
}

/*
 * Brings a set of the catalogue up to date: where it is mounted now, whether its devices still are, and what became
 * of its shadow copies (condition_find()).
 */
static json_t *present_set(const struct umbra_client *client, const json_t *entry, const json_t *found) {
  json_t *set = json_deep_copy(json_object_get(entry, "set"));
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(set, "shadows"), i, shadow) {
    const char *id = json_get_string_or(shadow, "id", "");
    const char *device = json_get_string_or(shadow, "device", NULL);
    CLEANUP_FREE char *directory = mount_directory_of(client, id);
    if (directory)
      (void)json_object_set_new(shadow, "mount", json_path(directory));
    if (device &&
        !device_is_there(device, json_object_get(json_object_get(json_object_get(entry, "records"), id), "record")))
      (void)json_object_set_new(shadow, "device", json_null());
  }
  condition_note(set, "ready", found);
  return set;
}

/* Sets that belong to running programs, and what their shadow copies are: "sets", "made" (as a catalogue entry's
 * records). */

static int add_owned(void *context, const char *id, const json_t *document, bool alive) {
  (void)id;
  json_t *set = json_deep_copy(json_object_get(json_object_get(document, "document"), "set"));
  if (!alive || !set || !json_get_boolean_or(document, "auto_release", false)) {
    json_decref(set);
    return 0;
  }
  (void)json_object_set(set, "owner", json_object_get(document, "owner"));
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(document, "shadows"), i, shadow) {
    (void)json_object_set(json_object_get(context, "made"), json_get_string_or(shadow, "id", ""), shadow);
  }
  return json_array_append_new(json_object_get(context, "sets"), set);
}

static int load_sets(struct umbra_client *client, json_t **ret) {
  CLEANUP_JSON json_t *entries = NULL, *damaged = NULL, *sets = json_array(), *found = NULL;
  CLEANUP_JSON json_t *owned = json_pack("{s:[], s:{}}", "sets", "made");
  int r = catalog_load(client->coordinator->state_dir, &entries, &damaged, &client->error);
  if (r < 0)
    return r;
  size_t i;
  json_t *entry;
  json_array_foreach(damaged, i, entry)
      coordinator_warn(client->coordinator, "catalogue file '%s/sets/%s' is damaged: its set is not listed",
                       client->coordinator->state_dir, json_string_value(entry));
  r = journal_scan(client->coordinator->runtime_dir, add_owned, owned, &client->error);
  if (r < 0)
    return r;
  json_t *made = json_object_get(owned, "made");
  json_array_foreach(entries, i, entry)(void) json_object_update(made, json_object_get(entry, "records"));
  found = condition_find(made);
  json_array_foreach(entries, i, entry)(void) json_array_append_new(sets, present_set(client, entry, found));
  json_array_foreach(json_object_get(owned, "sets"), i, entry) {
    condition_note(entry, "in-use", found);
    (void)json_array_append(sets, entry);
  }
  *ret = take_pointer(sets);
  return 0;
}

static int list_sets(struct umbra_client *client, json_t **ret) { return load_sets(client, ret); }

static int list_shadows(struct umbra_client *client, json_t **ret) {
  CLEANUP_JSON json_t *sets = NULL;
  int r = load_sets(client, &sets);
  if (r < 0)
    return r;
  json_t *list = json_array(), *set, *shadow;
  size_t i, j;
  json_array_foreach(sets, i, set){
      json_array_foreach(json_object_get(set, "shadows"), j, shadow){json_t *one = json_deep_copy(shadow);
  (void)json_object_set(one, "set", json_object_get(set, "id"));
  (void)json_object_set(one, "created", json_object_get(set, "created"));
  (void)json_object_set(one, "label", json_object_get(set, "label"));
  (void)json_object_set(one, "consistency", json_object_get(set, "consistency"));
  (void)json_array_append_new(list, one);
}
}
*ret = list;
return 0;
}

/* ---- volumes and providers ---- */

/* To what is told of an attached volume: the shadow copy that it should have become. */
static void note_reverting(const struct umbra_client *client, json_t *attached, const char *name) {
  CLEANUP_FREE char *shadow_id = reverting_to(client, name);
  (void)json_object_set_new(attached, "reverting", shadow_id ? json_string(shadow_id) : json_null());
}

static json_t *volume_document(const struct umbra_client *client, const struct volume *v) {
  json_t *attached = v->block_device != 0 ? cow_client_describe(v->block_device) : NULL;
  if (attached)
    note_reverting(client, attached, json_get_string_or(attached, "name", ""));
  return json_pack("{s:o, s:o, s:s, s:o, s:o, s:b, s:s?, s:I, s:i, s:b, s:s?, s:o}", "volume",
                   json_path(v->mount_point), "key", json_path(v->key), "filesystem", v->fs_type, "source",
                   json_path(v->source), "root", json_path(v->fs_root), "read_only", v->read_only, "device",
                   v->block_path, "device_bytes", (json_int_t)v->block_bytes, "sector_bytes", (int)v->sector_bytes,
                   "can_freeze", v->can_freeze, "freeze_why", v->can_freeze ? NULL : v->freeze_why, "attached",
                   attached ? attached : json_null());
}

static int list_volumes(struct umbra_client *client, json_t **ret) {
  struct volume_table *table = NULL;
  int r = volume_table_load(&table, &client->error);
  if (r < 0)
    return r;
  json_t *list = json_array();
  for (size_t i = 0; i < volume_table_count(table); i++) {
    const struct volume *v = volume_table_get(table, i);
    /* Kernel filesystems (proc, sysfs…) hold nothing of anybody's. */
    if (v->block_device != 0 || v->can_freeze)
      (void)json_array_append_new(list, volume_document(client, v));
  }
  volume_table_free(table);
  *ret = list;
  return 0;
}

static int list_providers(struct umbra_client *client, json_t **ret) {
  (void)client;
  static const char *const holds[] = {
      [PROVIDER_HOLD_NEEDED] = "frozen",
      [PROVIDER_HOLD_SELF] = "by-itself",
      [PROVIDER_HOLD_NONE] = "none",
  };
  json_t *list = json_array();
  for (size_t i = 0; i < providers_count; i++) {
    const struct provider *p = providers[i];
    (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b}", "name", p->name, "summary",
                                                p->summary, "hold", holds[p->hold], "instant", p->instant,
                                                "persistent", p->can_persist, "read_write", p->can_read_write,
                                                "only_by_name", p->only_by_name));
  }
  *ret = list;
  return 0;
}

int umbra_doctor(struct umbra_client *client, const char *const *paths, size_t count, char **ret_json) {
  struct volume_table *table = NULL;
  error_clear(&client->error);
  /* It needs no umbrad; only of root's view of the devices a member of the group has more by asking it. */
  if (client->remote && remote_can(paths, count)) {
    int r = remote_doctor(client, paths, count, ret_json);
    if (r != -EACCES)
      return r;
    error_clear(&client->error);
  }
  int r = volume_table_load(&table, &client->error);
  CLEANUP_JSON json_t *list = json_array();
  for (size_t i = 0; i < count && r >= 0; i++) {
    const struct volume *v = NULL;
    r = volume_table_lookup(table, paths[i], &v, NULL, &client->error);
    if (r >= 0)
      (void)json_array_append_new(list, provider_examine(v, client->coordinator->config_dir));
  }
  for (size_t i = 0; count == 0 && r >= 0 && i < volume_table_count(table); i++) {
    const struct volume *v = volume_table_get(table, i);
    if (v->block_device != 0)
      (void)json_array_append_new(list, provider_examine(v, client->coordinator->config_dir));
  }
  volume_table_free(table);
  size_t n;
  json_t *volume;
  json_array_foreach(list, n, volume) {
    json_t *attached = json_object_get(volume, "attached");
    if (json_is_object(attached))
      note_reverting(client, attached, json_get_string_or(attached, "name", ""));
  }
  return r < 0 ? r : client_return_json(client, json_pack("{s:O}", "volumes", list), ret_json);
}

/* ---- storage ---- */

static json_t *storage_line(json_t *list, const char *directory) {
  size_t i;
  json_t *line;
  CLEANUP_JSON json_t *path = json_path(directory);
  json_array_foreach(list, i, line) if (json_equal(json_object_get(line, "directory"), path)) return line;
  struct statvfs fs;
  bool known = statvfs(directory, &fs) == 0;
  line = json_pack("{s:O, s:i, s:i, s:I, s:I}", "directory", path, "shadows", 0, "used_bytes", 0, "free_bytes",
                   known ? (json_int_t)(fs.f_bavail * fs.f_frsize) : 0, "size_bytes",
                   known ? (json_int_t)(fs.f_blocks * fs.f_frsize) : 0);
  (void)json_array_append_new(list, line);
  return line;
}

struct storage_list {
  const struct umbra_client *client;
  json_t *list;
};

/* Which part of the device or filesystem that holds the storage its limit is; null where that is not known. */
static json_t *percent_of_place(const json_t *status, json_int_t limit_bytes) {
  const char *storage = json_get_string_or(status, "storage", "");
  if (json_get_boolean_or(status, "inside", false))
    return json_real((double)limit_bytes * 100 / (double)json_get_integer_or(status, "volume_bytes", 1));
  CLEANUP_CLOSE int fd = open(storage, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  uint64_t bytes = 0;
  if (fd < 0 || attached_storage_size(fd, &bytes) < 0 || bytes == 0)
    return json_null();
  return json_real((double)limit_bytes * 100 / (double)bytes);
}

/* An attached volume's, by its server. What is free is what its limit leaves. */
static int attached_line(const char *directory, const json_t *status, void *context) {
  (void)directory;
  struct storage_list *s = context;
  json_int_t used = json_get_integer_or(status, "used_bytes", 0), limit = json_get_integer_or(status, "limit_bytes", 0);
  json_t *line = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "directory", json_get_string_or(status, "storage", ""),
                           "attached", json_get_string_or(status, "name", ""), "shadows",
                           json_get_integer_or(status, "shadows", 0), "used_bytes", used, "free_bytes", limit - used,
                           "size_bytes", limit, "over_warning", json_get_boolean_or(status, "over_warning", false));
  (void)json_object_set_new(line, "limit_percent",
                            percent_of_place(status, limit));
  note_reverting(s->client, line, json_get_string_or(status, "name", ""));
  return json_array_append_new(s->list, line) < 0 ? -ENOMEM : 0;
}

static int list_storage(struct umbra_client *client, json_t **ret) {
  CLEANUP_JSON json_t *entries = NULL;
  int r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  if (r < 0)
    return r;
  json_t *list = json_array(), *entry, *shadow;
  CLEANUP_FREE char *usual = NULL;
  if (asprintf(&usual, "%s/storage", client->coordinator->state_dir) >= 0)
    (void)storage_line(list, usual);
  size_t i, j;
  json_array_foreach(entries, i, entry) {
    json_array_foreach(json_object_get(json_object_get(entry, "set"), "shadows"), j, shadow) {
      const json_t *made = json_object_get(json_object_get(entry, "records"), json_get_string_or(shadow, "id", ""));
      /* What keeps its shadow copies elsewhere has no part of a directory: of attached volumes their servers tell. */
      CLEANUP_FREE char *directory = NULL;
      if (json_path_value(json_object_get(made, "storage"), &directory) < 0)
        continue;
      json_t *line = storage_line(list, directory);
      (void)json_object_set_new(line, "shadows", json_integer(json_get_integer_or(line, "shadows", 0) + 1));
      (void)json_object_set_new(
          line, "used_bytes",
          json_integer(json_get_integer_or(line, "used_bytes", 0) + json_get_integer_or(shadow, "storage_bytes", 0)));
    }
  }
  struct storage_list context = {.client = client, .list = list};
  r = cow_client_visit(client->coordinator->runtime_dir, attached_line, &context, &client->error);
  if (r < 0)
    json_decref(list);
  else
    *ret = list;
  return r;
}

/* ---- the calls ---- */

static const struct {
  const char *what;
  int (*list)(struct umbra_client *client, json_t **ret);
} lists[] = {
    {"sets", list_sets},           {"shadows", list_shadows}, {"volumes", list_volumes},
    {"providers", list_providers}, {"writers", writers_list}, {"components", components_list},
    {"storage", list_storage},
};

int umbra_list(struct umbra_client *client, const char *what, char **ret_json) {
  if (client->remote)
    return remote_text(client, "List", what, ret_json);
  client_recover(client);
  error_clear(&client->error);
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
    if (strcmp(lists[i].what, what) != 0)
      continue;
    json_t *list = NULL;
    int r = lists[i].list(client, &list);
    return r < 0 ? r : client_return_json(client, json_pack("{s:o}", what, list), ret_json);
  }
  return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                   "'%s' is no list: sets, shadows, volumes, providers, writers, components, storage", what);
}

int umbra_show(struct umbra_client *client, const char *id, char **ret_json) {
  CLEANUP_JSON json_t *entries = NULL;
  json_t *entry = NULL;
  const char *shadow_id = NULL;
  if (client->remote)
    return remote_text(client, "Show", id, ret_json);
  client_recover(client);
  error_clear(&client->error);
  int r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  if (r >= 0)
    r = catalog_find(entries, id, &entry, &shadow_id, &client->error);
  if (r < 0)
    return r;
  CLEANUP_JSON json_t *state_of = condition_find(json_object_get(entry, "records"));
  json_t *set = present_set(client, entry, state_of);
  if (!shadow_id)
    return client_return_json(client, json_pack("{s:o}", "set", set), ret_json);
  size_t i;
  json_t *shadow, *found = NULL;
  json_array_foreach(json_object_get(set, "shadows"), i,
                     shadow) if (strcmp(json_get_string_or(shadow, "id", ""), shadow_id) == 0) found =
      json_incref(shadow);
  (void)json_object_set(found, "set", json_object_get(set, "id"));
  (void)json_object_set(found, "created", json_object_get(set, "created"));
  json_decref(set);
  return client_return_json(client, json_pack("{s:o}", "shadow", found), ret_json);
}
