/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Restore events: the writers that took part in a backup hear that their files come back. */
#include "libumbra/handles.h"

#include "coordinator/writer-call.h"
#include "coordinator/writer-failures.h"
#include "coordinator/writer-limits.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct restore {
  struct umbra_client *client;
  struct writer **writers;
  size_t writer_count, pending;
};

static void on_called(struct writer *w, enum writer_event event, void *context) {
  (void)w;
  (void)event;
  ((struct restore *)context)->pending--;
}

static void wait_for_calls(struct restore *restore) {
  while (restore->pending > 0 && sd_event_run(restore->client->coordinator->loop, UINT64_MAX) >= 0)
    ;
}

static int tell(struct restore *restore, struct writer *w, enum writer_event event, const char *set_id,
                int document_fd) {
  struct coordinator *c = restore->client->coordinator;
  int r = writer_call(w, event, c->loop, set_id, document_fd, writer_limit_ms(w, event, &c->limits), on_called,
                      restore, NULL, &restore->client->error);
  restore->pending += r >= 0;
  return r;
}

static bool same_writer(const struct writer *w, const json_t *saved) {
  const char *instance = json_get_string_or(saved, "instance", "");
  return w->kind != WRITER_HOOK && strcmp(w->name, json_get_string_or(saved, "name", "")) == 0 &&
         strcmp(w->instance ? w->instance : "", instance) == 0;
}

static bool below(const char *path, const char *directory) {
  size_t length = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
  return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* True if files at, below or above one of the paths are the writer's. */
static bool concerned(const json_t *saved, const json_t *paths) {
  const json_t *components = json_object_get(json_object_get(saved, "metadata"), "components");
  size_t i, j, k;
  json_t *component, *set, *one;
  json_array_foreach(components, i, component) {
    json_array_foreach(json_object_get(component, "files"), j, set) {
      json_array_foreach(paths, k, one) {
        CLEANUP_FREE char *its = NULL, *path = NULL;
        if (json_path_value(json_object_get(set, "path"), &its) >= 0 && json_path_value(one, &path) >= 0 &&
            (below(its, path) || below(path, its)))
          return true;
      }
    }
  }
  return json_array_size(components) == 0;
}

/* True if one of the chosen components is the writer's. */
static bool chosen(const json_t *saved, const json_t *components) {
  size_t i;
  const json_t *one;
  json_array_foreach(components, i, one) {
    if (strcmp(json_get_string_or(one, "writer", ""), json_get_string_or(saved, "name", "")) == 0 &&
        strcmp(json_get_string_or(one, "instance", ""), json_get_string_or(saved, "instance", "")) == 0)
      return true;
  }
  return components == NULL;
}

/*
 * Nobody stops a service for files that are not its own, and who does not know of other places than the original one
 * none for a restore to one.
 */
static bool hears(const struct writer *w, const json_t *saved, const json_t *document) {
  const json_t *how = json_object_get(document, "restore"), *paths = json_object_get(how, "paths");
  return (!paths || concerned(saved, paths)) && chosen(saved, json_object_get(how, "components")) &&
         (!json_object_get(how, "to") || json_get_boolean_or(w->metadata, "new_target", false));
}

/* The present writer that a saved document speaks of; NULL if it does not run here. */
static struct writer *find_writer(const struct restore *restore, const json_t *saved) {
  for (size_t i = 0; i < restore->writer_count; i++)
    if (!writer_failed(restore->writers[i]) && same_writer(restore->writers[i], saved))
      return restore->writers[i];
  return NULL;
}

static int memory_file(const char *text, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = memfd_create("umbra-restore", MFD_CLOEXEC);
  int r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
  return r < 0 ? error_code(err, r, "making the document for writers") : take_fd(&fd);
}

/*
 * An instance that is not there at the moment, since its service was ended for the restore, is what it was at the
 * backup, as long as its program is there.
 */
static void add_absent(struct restore *restore, const json_t *saved) {
  const json_t *metadata = json_object_get(saved, "metadata"), *present;
  if (!json_get_boolean_or(metadata, "session", false))
    return;
  for (size_t i = 0; i < restore->writer_count; i++) {
    const struct writer *w = restore->writers[i];
    size_t k;
    bool there = false;
    if (!w->instances || writer_failed(w) || strcmp(w->name, json_get_string_or(saved, "name", "")) != 0)
      continue;
    json_array_foreach(w->instances, k, present) there =
        there || strcmp(json_get_string_or(present, "instance", ""), json_get_string_or(saved, "instance", "")) == 0;
    if (!there)
      (void)json_array_append_new(w->instances, json_deep_copy(metadata));
  }
}

static int gather(struct restore *restore, const json_t *saved_writers) {
  struct coordinator *c = restore->client->coordinator;
  int r = limits_load(c->config_dir, &c->limits, &restore->client->error);
  if (r >= 0)
    r = writers_find(UMBRA_LIBEXEC_DIR, c->config_dir, &restore->writers, &restore->writer_count,
                     &restore->client->error);
  for (size_t i = 0; i < restore->writer_count && r >= 0; i++)
    if (restore->writers[i]->kind == WRITER_EXEC && !writer_failed(restore->writers[i]))
      r = tell(restore, restore->writers[i], WRITER_IDENTIFY, "", -1);
  wait_for_calls(restore);
  size_t k;
  const json_t *saved;
  json_array_foreach(saved_writers, k, saved) add_absent(restore, saved);
  return r < 0 ? r : writers_spread(&restore->writers, &restore->writer_count, &restore->client->error);
}

/* Which saved writers are told, and what each said, as {"writers": […]}; negative if one refused. */
static int results(struct restore *restore, const json_t *document, json_t *list) {
  const json_t *saved_writers = json_object_get(document, "writers");
  int r = 0;
  size_t i;
  json_t *saved;
  json_array_foreach(saved_writers, i, saved) {
    const struct writer *w = find_writer(restore, saved);
    const struct writer *failed = NULL;
    char title[WRITER_TITLE_BYTES];
    for (size_t k = 0; k < restore->writer_count && !w; k++)
      if (same_writer(restore->writers[k], saved))
        failed = restore->writers[k];
    json_t *one = w || failed ? writer_describe(w ? w : failed) : json_deep_copy(saved);
    (void)json_object_set_new(one, "present", json_boolean(w || failed));
    if (w || failed)
      (void)json_object_set(one, "answers", (w ? w : failed)->answers);
    (void)json_array_append_new(list, one);
    if (failed && hears(failed, saved, document))
      r = error_set(&restore->client->error, -EIO, failed->reason, "writer '%s' (%s) %s: %s",
                    writer_title(failed, title), failed->path, failed->state, failed->failure);
  }
  return r;
}

int umbra_restore_event(struct umbra_client *client, const char *event, const char *components, char **ret_json) {
  struct restore restore = {.client = client};
  CLEANUP_JSON json_t *document = NULL, *list = json_array();
  error_clear(&client->error);
  bool pre = strcmp(event, "pre-restore") == 0;
  if (!pre && strcmp(event, "post-restore") != 0)
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no restore event", event);
  int r = json_parse(components, strlen(components), "backup components document", &document, &client->error);
  if (r < 0)
    return r;
  const json_t *saved_writers = json_object_get(document, "writers"), *saved;
  char id[ID_TEXT_BYTES];
  id_new(id);
  CLEANUP_CLOSE int fd = memory_file(components, &client->error);
  r = fd < 0 ? fd : json_array_size(saved_writers) > 0 ? gather(&restore, saved_writers) : 0;
  size_t i;
  for (i = 0; i < json_array_size(saved_writers) && r >= 0; i++) {
    saved = json_array_get(saved_writers, i);
    struct writer *w = find_writer(&restore, saved);
    if (w && hears(w, saved, document))
      r = tell(&restore, w, pre ? WRITER_PRE_RESTORE : WRITER_POST_RESTORE, id, fd);
  }
  wait_for_calls(&restore);
  if (r >= 0)
    r = results(&restore, document, list);
  struct umbra_error not_kept = {0};
  if (writer_failures_keep(client->coordinator->state_dir, NULL, restore.writers, restore.writer_count, &not_kept) <
      0)
    log_warning("%s", not_kept.message);
  writers_free(restore.writers, restore.writer_count);
  if (ret_json && (r >= 0 || json_array_size(list) > 0)) {
    json_t *answer = json_pack("{s:O}", "writers", list);
    char *text = answer ? json_dumps(answer, JSON_INDENT(2)) : NULL;
    json_decref(answer);
    *ret_json = text;
  }
  return r;
}
