/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers, as their admin sees them: which there are, whether they go through a set, whether they are to take part.
 * A test is a set without a shadow copy (provider null), so that deadlines, guardian and journal are those of every
 * set; the volumes of the writer's files are held for a moment, too.
 */
#include "libumbra/writers.h"

#include "coordinator/components.h"
#include "coordinator/writer-call.h"
#include "coordinator/writer-failures.h"
#include "coordinator/writer-limits.h"
#include "libumbra/handles.h"
#include "libumbra/remote.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_identified(struct writer *w, enum writer_event event, void *context) {
  (void)w;
  (void)event;
  (*(size_t *)context)--;
}

/* Who there is, having said so. The caller's, also on failure. */
static int gather(struct umbra_client *client, struct writer ***ret, size_t *ret_count) {
  struct coordinator *c = client->coordinator;
  struct writer **writers = NULL;
  size_t count = 0, pending = 0;
  int r = limits_load(c->config_dir, &c->limits, &client->error);
  if (r >= 0)
    r = writers_find(UMBRA_LIBEXEC_DIR, c->config_dir, &writers, &count, &client->error);
  for (size_t i = 0; i < count && r >= 0; i++)
    if (writers[i]->kind == WRITER_EXEC && !writer_failed(writers[i])) {
      r = writer_call(writers[i], WRITER_IDENTIFY, c->loop, "", -1,
                      writer_limit_ms(writers[i], WRITER_IDENTIFY, &c->limits), on_identified, &pending, NULL,
                      &client->error);
      pending += r >= 0;
    }
  while (pending > 0 && sd_event_run(c->loop, UINT64_MAX) >= 0)
    ;
  if (r >= 0)
    r = writers_spread(&writers, &count, &client->error);
  *ret = writers;
  *ret_count = count;
  return r;
}

/* What a writer says of itself, if it is of the type that it should have. */
static json_t *said(const struct writer *w, const char *key, json_type type) {
  json_t *value = json_object_get(w->metadata, key);
  if (!value && strcmp(key, "unit") == 0)
    value = json_object_get(json_object_get(w->metadata, "restore"), "service");
  return value && json_typeof(value) == type ? json_incref(value) : json_null();
}

static json_t *describe(const struct writer *w, const json_t *failures) {
  static const char *const kinds[] = {[WRITER_EXEC] = "exec", [WRITER_HOOK] = "hook", [WRITER_SESSION] = "session"};
  json_t *one = writer_describe(w), *limits = json_object();
  const json_t *last = writer_failures_find(failures, w->name, w->instance);
  for (int i = 0; i < WRITER_EVENT_MAX; i++)
    if (w->limits_ms[i] > 0)
      (void)json_object_set_new(limits, writer_event_name((enum writer_event)i), json_integer(w->limits_ms[i]));
  (void)json_object_set_new(one, "kind", json_string(kinds[w->kind]));
  (void)json_object_set_new(one, "pid", said(w, "pid", JSON_INTEGER));
  (void)json_object_set_new(one, "unit", said(w, "unit", JSON_STRING));
  (void)json_object_set_new(one, "limits_ms", limits);
  (void)json_object_set_new(one, "last_failure", last ? json_deep_copy(last) : json_null());
  if (w->metadata)
    (void)json_object_set(one, "metadata", w->metadata);
  return one;
}

static json_t *describe_all(const struct umbra_client *client, struct writer *const *writers, size_t count) {
  CLEANUP_JSON json_t *failures = NULL;
  json_t *list = json_array();
  (void)writer_failures_load(client->coordinator->state_dir, &failures, NULL);
  for (size_t i = 0; i < count; i++)
    (void)json_array_append_new(list, describe(writers[i], failures));
  return list;
}

int writers_list(struct umbra_client *client, json_t **ret) {
  struct writer **writers = NULL;
  size_t count = 0;
  int r = gather(client, &writers, &count);
  *ret = describe_all(client, writers, r < 0 ? 0 : count);
  writers_free(writers, count);
  return r;
}

/* The array itself, for the call that makes strings of what it was given. */
static int list_of(const char *const *components, size_t count, char ***ret) {
  int r = 0;
  for (size_t i = 0; i < count && r >= 0; i++)
    r = strv_append(ret, components[i]);
  return r;
}

/* {"writers", "components", "missing"}, of what is there. */
static int gather_and_select(struct umbra_client *client, char *const *wanted, json_t **ret) {
  struct writer **writers = NULL;
  size_t count = 0;
  CLEANUP_JSON json_t *selection = NULL;
  int r = gather(client, &writers, &count);
  CLEANUP_JSON json_t *for_selection = r < 0 ? NULL : set_writers_for_selection(writers, count);
  if (r >= 0)
    r = components_select(for_selection, wanted, false, &selection, &client->error);
  for (size_t i = 0; i < count && r >= 0 && wanted; i++)
    writers[i]->selection = components_of(selection, writers[i]->name, writers[i]->instance);
  if (r >= 0) {
    *ret = json_pack("{s:o, s:O, s:O}", "writers", describe_all(client, writers, count), "components",
                     json_object_get(selection, "components"), "missing", json_object_get(selection, "missing"));
    r = *ret ? 0 : error_code(&client->error, -ENOMEM, "gathering writers");
  }
  writers_free(writers, count);
  return r;
}

int components_list(struct umbra_client *client, json_t **ret) {
  CLEANUP_JSON json_t *document = NULL;
  int r = gather_and_select(client, NULL, &document);
  *ret = json_incref(json_object_get(document, "components"));
  return r;
}

int umbra_gather(struct umbra_client *client, const char *const *components, size_t count, char **ret_json) {
  CLEANUP_STRV char **wanted = NULL;
  json_t *document = NULL;
  error_clear(&client->error);
  int r = list_of(components, count, &wanted) < 0 ? error_code(&client->error, -ENOMEM, "gathering writers")
                                                  : gather_and_select(client, wanted, &document);
  return r < 0 ? r : client_return_json(client, document, ret_json);
}

int umbra_select_saved(struct umbra_client *client, const char *document, const char *const *components, size_t count,
                       char **ret_json) {
  CLEANUP_STRV char **wanted = NULL;
  CLEANUP_JSON json_t *saved = NULL;
  json_t *selection = NULL;
  error_clear(&client->error);
  int r = list_of(components, count, &wanted) < 0
              ? error_code(&client->error, -ENOMEM, "selecting components")
              : json_parse(document, strlen(document), "backup components document", &saved, &client->error);
  if (r >= 0)
    r = components_select(json_object_get(saved, "writers"), wanted, true, &selection, &client->error);
  return r < 0 ? r : client_return_json(client, selection, ret_json);
}

/* Files that are not there yet will be where their directory is. */
static int add_nearest(struct umbra_set *set, char *path) {
  char *slash;
  while (access(path, F_OK) < 0 && (slash = strrchr(path, '/')) && slash > path)
    *slash = 0;
  return umbra_set_add_path(set, access(path, F_OK) < 0 ? "/" : path);
}

/* The files of the writer's instances are what the set is of; who has none is told of any set. */
static int add_its_files(struct umbra_set *set, const json_t *list, const char *name) {
  size_t i, j, k, paths = 0, instances = 0;
  const json_t *writer, *component, *files;
  int r = 0;
  json_array_foreach(list, i, writer) {
    if (strcmp(json_get_string_or(writer, "name", ""), name) != 0)
      continue;
    instances++;
    json_array_foreach(json_object_get(json_object_get(writer, "metadata"), "components"), j, component) {
      json_array_foreach(json_object_get(component, "files"), k, files) {
        CLEANUP_FREE char *path = NULL;
        if (r >= 0 && json_path_value(json_object_get(files, "path"), &path) >= 0) {
          r = add_nearest(set, path);
          paths++;
        }
      }
    }
  }
  if (instances == 0)
    return error_set(&set->client->error, -ENOENT, UMBRA_REASON_NOT_FOUND, "no writer '%s' (see: umbra writers)",
                     name);
  return r < 0 || paths > 0 ? r : umbra_set_add_path(set, "/");
}

int umbra_writer_test(struct umbra_client *client, const char *name, char **ret_json) {
  CLEANUP_JSON json_t *list = NULL;
  struct umbra_set *set = NULL;
  if (client->remote)
    return remote_writer_test(client, name, ret_json);
  error_clear(&client->error);
  int r = writers_list(client, &list);
  if (r >= 0)
    r = umbra_set_new(client, &set);
  static const char *const options[][2] = {{"provider", "null"}, {"auto-release", "yes"}};
  for (size_t i = 0; r >= 0 && i < sizeof options / sizeof options[0]; i++)
    r = umbra_set_option(set, options[i][0], options[i][1]);
  if (r >= 0)
    r = umbra_set_option(set, "writer", name);
  if (r >= 0)
    r = add_its_files(set, list, name);
  if (r >= 0)
    r = umbra_set_create(set);
  if (r >= 0 && ret_json) {
    CLEANUP_JSON json_t *document = json_loads(umbra_set_document(set), 0, NULL);
    const json_t *made = json_object_get(document, "set");
    r = client_return_json(client,
                           json_pack("{s:O?, s:O?, s:O?}", "hold_ms", json_object_get(made, "hold_ms"), "freeze_ms",
                                     json_object_get(made, "freeze_ms"), "writers", json_object_get(made, "writers")),
                           ret_json);
  }
  bool degraded = r >= 0 && umbra_set_degraded(set);
  umbra_set_free(set);
  return r < 0 ? r : degraded;
}

/* What is switched: a program of the owner's, by its right to be executed; one that came with umbra, by a link to
 * /dev/null. */
enum program_place { PLACE_NONE, PLACE_OWN, PLACE_CAME, PLACE_MASKED };

static enum program_place find_program(const char *own, const char *came) {
  struct stat st;
  if (lstat(own, &st) < 0)
    return access(came, F_OK) == 0 ? PLACE_CAME : PLACE_NONE;
  return S_ISLNK(st.st_mode) && stat(own, &st) == 0 && S_ISCHR(st.st_mode) ? PLACE_MASKED : PLACE_OWN;
}

static int switch_own(const char *own, bool enable, struct umbra_error *err) {
  struct stat st;
  if (lstat(own, &st) < 0)
    return error_errno(err, "looking at '%s'", own);
  if (!S_ISREG(st.st_mode))
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no plain file: remove it, or put it back, by hand",
                     own);
  mode_t mode = enable ? st.st_mode | 0111 : st.st_mode & ~(mode_t)0111;
  return chmod(own, mode & 07777) < 0 ? error_errno(err, "changing '%s'", own) : 0;
}

static int mask(const char *config_dir, const char *own, struct umbra_error *err) {
  char folder[PATH_MAX];
  (void)snprintf(folder, sizeof folder, "%s/writers.d", config_dir);
  int r = fd_make_directories(folder, 0755);
  if (r < 0)
    return error_code(err, r, "making '%s'", folder);
  return symlink("/dev/null", own) < 0 ? error_errno(err, "making '%s'", own) : 0;
}

int umbra_writer_enable(struct umbra_client *client, const char *name, int enable) {
  struct umbra_error *err = &client->error;
  if (client->remote)
    return remote_writer_enable(client, name, enable);
  const char *config_dir = client->coordinator->config_dir;
  char own[PATH_MAX], came[PATH_MAX];
  error_clear(err);
  if (!*name || strchr(name, '/') || name[0] == '.' ||
      (size_t)snprintf(own, sizeof own, "%s/writers.d/%s", config_dir, name) >= sizeof own ||
      (size_t)snprintf(came, sizeof came, "%s/writers/%s", UMBRA_LIBEXEC_DIR, name) >= sizeof came)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no name of a writer's program", name);
  switch (find_program(own, came)) {
  case PLACE_NONE:
    break;
  case PLACE_OWN:
    return switch_own(own, enable, err);
  case PLACE_CAME:
    return enable ? 0 : mask(config_dir, own, err);
  case PLACE_MASKED:
    return enable && unlink(own) < 0 ? error_errno(err, "removing '%s'", own) : 0;
  }
  return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "no writer's program '%s' in '%s/writers.d' or '%s/writers'",
                   name, config_dir, UMBRA_LIBEXEC_DIR);
}
