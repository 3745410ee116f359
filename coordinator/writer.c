/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/writer.h"

#include "coordinator/components.h"
#include "coordinator/writer-limits.h"
#include "coordinator/writer-session.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const event_names[WRITER_EVENT_MAX] = {
    [WRITER_IDENTIFY] = "identify",
    [WRITER_PREPARE_BACKUP] = "prepare-backup",
    [WRITER_PREPARE_SNAPSHOT] = "prepare-snapshot",
    [WRITER_FREEZE] = "freeze",
    [WRITER_THAW] = "thaw",
    [WRITER_POST_SNAPSHOT] = "post-snapshot",
    [WRITER_BACKUP_COMPLETE] = "backup-complete",
    [WRITER_ABORT] = "abort",
    [WRITER_SHUTDOWN] = "shutdown",
    [WRITER_PRE_RESTORE] = "pre-restore",
    [WRITER_POST_RESTORE] = "post-restore",
};

static const char *const failed_names[WRITER_EVENT_MAX] = {
    [WRITER_IDENTIFY] = "failed-at-identify",
    [WRITER_PREPARE_BACKUP] = "failed-at-prepare-backup",
    [WRITER_PREPARE_SNAPSHOT] = "failed-at-prepare-snapshot",
    [WRITER_FREEZE] = "failed-at-freeze",
    [WRITER_THAW] = "failed-at-thaw",
    [WRITER_POST_SNAPSHOT] = "failed-at-post-snapshot",
    [WRITER_BACKUP_COMPLETE] = "failed-at-backup-complete",
    [WRITER_ABORT] = "failed-at-abort",
    [WRITER_SHUTDOWN] = "failed-at-shutdown",
    [WRITER_PRE_RESTORE] = "failed-at-pre-restore",
    [WRITER_POST_RESTORE] = "failed-at-post-restore",
};

static const char *const level_names[WRITER_LEVEL_MAX] = {
    [WRITER_FRONT_END] = "front-end",
    [WRITER_BACK_END] = "back-end",
    [WRITER_SYSTEM] = "system",
};

const char *writer_title(const struct writer *w, char buffer[WRITER_TITLE_BYTES]) {
  (void)snprintf(buffer, WRITER_TITLE_BYTES, "%s%s%s", w->name, w->instance ? " " : "",
                 w->instance ? w->instance : "");
  return buffer;
}

const char *writer_event_name(enum writer_event event) { return event_names[event]; }
const char *writer_level_name(enum writer_level level) { return level_names[level]; }

void writer_fail(struct writer *w, enum writer_event event, enum umbra_reason reason, const char *format, ...) {
  if (writer_failed(w))
    return; /* the first failure is the cause */
  w->state = failed_names[event];
  w->reason = reason;
  w->failed_ns = clock_realtime_ns();
  va_list args;
  va_start(args, format);
  (void)vsnprintf(w->failure, sizeof w->failure, format, args);
  va_end(args);
  for (char *at = w->failure; *at; at++)
    if ((unsigned char)*at < ' ')
      *at = ' ';
  json_make_text(w->failure);
}

void writer_said_too_much(struct writer *w, enum writer_event event) {
  writer_fail(w, event, UMBRA_REASON_LIMIT, "%s: writers said more than %d MiB in one set", event_names[event],
              (int)(WRITERS_SAID_BYTES_MAX >> 20));
  (void)json_object_del(w->answers, event_names[event]);
  if (event != WRITER_IDENTIFY)
    return;
  json_decref(w->instances);
  json_decref(w->metadata);
  w->instances = w->metadata = NULL;
}

static void writer_free(struct writer *w) {
  if (!w)
    return;
  for (size_t i = 0; i < w->past_count; i++)
    process_end(&w->past[i], true);
  writer_session_free(w->session);
  json_decref(w->instances);
  json_decref(w->selection);
  json_decref(w->outcomes);
  free(w->path);
  free(w->name);
  free(w->instance);
  json_decref(w->metadata);
  json_decref(w->answers);
  free(w);
}

void writers_free(struct writer **writers, size_t count) {
  for (size_t i = 0; i < count; i++)
    writer_free(writers[i]);
  free(writers);
}

static struct writer *writer_new(enum writer_kind kind, const char *directory, const char *name) {
  struct writer *w = calloc(1, sizeof *w);
  if (!w)
    return NULL;
  *w = (struct writer){.kind = kind, .state = "stable", .level = WRITER_FRONT_END};
  w->name = strdup(name);
  w->answers = json_object();
  if (asprintf(&w->path, "%s/%s", directory, name) < 0)
    w->path = NULL;
  if (!w->name || !w->answers || !w->path) {
    writer_free(w);
    return NULL;
  }
  return w;
}

/* Editors' and package managers' leftovers are no writers. */
static bool ignored_name(const char *name) {
  size_t length = strlen(name);
  static const char *const endings[] = {"~",         ".bak",       ".rpmnew",   ".rpmsave", ".dpkg-old",
                                        ".dpkg-new", ".dpkg-dist", ".dpkg-tmp", ".sample"};
  if (name[0] == '.')
    return true;
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    size_t n = strlen(endings[i]);
    if (length >= n && strcmp(name + length - n, endings[i]) == 0)
      return true;
  }
  return false;
}

static void check_owner(struct writer *w, const struct stat *st, const char *what) {
  if (st->st_uid != 0 && st->st_uid != geteuid())
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_ACCESS,
                "refused: %s belongs to user %u, it must belong to root (chown root '%s')", what,
                (unsigned)st->st_uid, w->path);
  else if (st->st_mode & (S_IWGRP | S_IWOTH))
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_ACCESS, "refused: %s is writable by others (chmod go-w '%s')", what,
                w->path);
}

struct found {
  struct writer **list;
  size_t count;
};

/* What is there under the name, whatever it is, counts instead: a program of the owner's, or a link to /dev/null. */
static bool overridden(const char *config_dir, const char *name) {
  char path[PATH_MAX];
  struct stat st;
  return config_dir && (size_t)snprintf(path, sizeof path, "%s/writers.d/%s", config_dir, name) < sizeof path &&
         lstat(path, &st) == 0;
}

/* override_dir: a configuration whose writers.d comes before; NULL: none. */
static int find_in(const char *parent, const char *folder, const char *override_dir, enum writer_kind kind,
                   struct found *found, struct umbra_error *err) {
  char directory[PATH_MAX];
  if ((size_t)snprintf(directory, sizeof directory, "%s/%s", parent, folder) >= sizeof directory)
    return error_code(err, -ENAMETOOLONG, "looking for writers in '%s'", parent);
  struct dirent **entries = NULL;
  int n = scandir(directory, &entries, NULL, alphasort);
  if (n < 0)
    return errno == ENOENT || errno == ENOTDIR ? 0 : error_errno(err, "looking for writers in '%s'", directory);
  int r = 0;
  struct stat folder_st;
  bool folder_known = stat(directory, &folder_st) == 0;
  for (int i = 0; i < n; i++) {
    struct stat st;
    struct writer *w = NULL;
    if (r >= 0 && !ignored_name(entries[i]->d_name) && !overridden(override_dir, entries[i]->d_name) &&
        (w = writer_new(kind, directory, entries[i]->d_name)) && stat(w->path, &st) == 0 && S_ISREG(st.st_mode) &&
        (st.st_mode & 0111)) {
      check_owner(w, &st, "the file");
      if (folder_known)
        check_owner(w, &folder_st, "its directory");
      struct writer **larger = realloc(found->list, (found->count + 1) * sizeof *larger);
      if (!larger)
        r = error_code(err, -ENOMEM, "listing writers");
      else if (found->count >= WRITERS_MAX) {
        found->list = larger;
        r = error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d writers in '%s'", WRITERS_MAX, parent);
      } else {
        found->list = larger;
        found->list[found->count++] = w;
        w = NULL;
      }
    }
    writer_free(w);
    free(entries[i]);
  }
  free(entries);
  return r;
}

static void load_limits(const char *config_dir, struct writer *w) {
  struct umbra_error err = {0};
  if (config_dir && writer_limits_load(config_dir, strrchr(w->path, '/') + 1, w->limits_ms, &err) < 0)
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INVALID, "%s", err.message);
}

int writers_find(const char *libexec_dir, const char *config_dir, struct writer ***ret, size_t *ret_count,
                 struct umbra_error *err) {
  struct found found = {0};
  int r = find_in(libexec_dir, "writers", config_dir, WRITER_EXEC, &found, err);
  if (r >= 0)
    r = find_in(config_dir, "writers.d", NULL, WRITER_EXEC, &found, err);
  if (r >= 0)
    r = find_in(config_dir, "fsfreeze-hook.d", NULL, WRITER_HOOK, &found, err);
  for (size_t i = 0; i < found.count && r >= 0; i++)
    load_limits(config_dir, found.list[i]);
  if (r < 0) {
    writers_free(found.list, found.count);
    return r;
  }
  *ret = found.list;
  *ret_count = found.count;
  return 0;
}

static bool good_name(const char *name) {
  size_t length = strlen(name);
  return length > 0 && length <= WRITER_NAME_BYTES_MAX &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/@:") == length;
}

static int take_level(struct writer *w, const char *name) {
  for (int i = 0; i < WRITER_LEVEL_MAX; i++)
    if (strcmp(level_names[i], name) == 0) {
      w->level = (enum writer_level)i;
      return 0;
    }
  return -EINVAL;
}

/* *ret_key: the key that is wrong. Those that are not there are 0: the machine's limit alone counts. */
static int take_timeouts(struct writer *w, const json_t *timeouts, const char **ret_key) {
  const struct {
    const char *key, *path;
    int64_t *ms;
  } limits[] = {{"freeze_ms", "timeouts.freeze_ms", &w->freeze_limit_ms},
                {"prepare_ms", "timeouts.prepare_ms", &w->prepare_limit_ms}};
  *ret_key = "timeouts";
  if (timeouts && !json_is_object(timeouts))
    return -EINVAL;
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    const json_t *value = json_object_get(timeouts, limits[i].key);
    *ret_key = limits[i].path;
    if (value && !json_is_integer(value))
      return -EINVAL;
    *limits[i].ms = json_integer_value(value) < 0 ? 0 : json_integer_value(value);
  }
  return 0;
}

static void take_document(struct writer *w, json_t *document) {
  const char *name = json_get_string_or(document, "name", NULL);
  const char *instance = json_get_string_or(document, "instance", NULL);
  const char *level = json_get_string_or(document, "level", "front-end");
  const char *wrong = components_wrong(json_object_get(document, "components"));
  if (!name || !good_name(name) || (instance && !good_name(instance)))
    wrong = "'name' or 'instance' is missing or has characters that a name cannot have";
  else if (take_level(w, level) < 0)
    wrong = "'level' is none of front-end, back-end, system";
  if (wrong) {
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INVALID, "metadata document: %s", wrong);
    return;
  }
  const char *key;
  if (take_timeouts(w, json_object_get(document, "timeouts"), &key) < 0) {
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INVALID, "metadata document of '%s': '%s' is not %s", w->path, key,
                strchr(key, '.') ? "a whole number of milliseconds" : "an object");
    return;
  }
  if (!json_get_boolean_or(document, "session", false) &&
      json_string_length(json_object_get(document, "key")) > WRITER_KEY_BYTES_MAX) {
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_LIMIT,
                "metadata document of '%s': 'key' is longer than %d KiB, which only a session can be told", w->path,
                WRITER_KEY_BYTES_MAX / 1024);
    return;
  }
  char *copy = strdup(name), *instance_copy = instance ? strdup(instance) : NULL;
  if (!copy || (instance && !instance_copy)) {
    free(copy);
    free(instance_copy);
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INTERNAL, "out of memory");
    return;
  }
  free(w->name);
  free(w->instance);
  w->name = copy;
  w->instance = instance_copy;
  w->repairs = json_get_boolean_or(document, "repairs", false);
  if (json_get_boolean_or(document, "session", false))
    w->kind = WRITER_SESSION;
  w->metadata = json_incref(document);
  const char *failure = json_get_string_or(document, "failure", NULL);
  if (failure)
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_WRITER, "%s", failure);
}

void writer_identified(struct writer *w, const char *output, size_t length_bytes) {
  struct umbra_error err = {0};
  CLEANUP_JSON json_t *document = NULL;
  if (json_parse(output, length_bytes, w->path, &document, &err) < 0)
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INVALID, "identify printed no metadata document (a JSON object): %s",
                err.message);
  else if (json_is_array(document) && json_array_size(document) > WRITERS_MAX)
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_LIMIT, "identify told of %zu instances, more than %d",
                json_array_size(document), WRITERS_MAX);
  else if (json_is_array(document))
    w->instances = take_pointer(document);
  else if (json_is_object(document))
    take_document(w, document);
  else
    writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INVALID, "identify printed no metadata document (a JSON object): %s",
                "neither an object nor an array of them");
}

/* Another writer of the same program. */
static struct writer *writer_again(const struct writer *w) {
  const char *slash = strrchr(w->path, '/');
  struct writer *again = writer_new(WRITER_EXEC, "", slash + 1);
  if (!again)
    return NULL;
  free(again->path);
  again->path = strdup(w->path);
  memcpy(again->limits_ms, w->limits_ms, sizeof again->limits_ms);
  if (again->path)
    return again;
  writer_free(again);
  return NULL;
}

/* The writers of a program that printed an array, behind *made. */
static int spread_one(const struct writer *w, struct writer **made, size_t *count) {
  size_t n;
  json_t *document;
  json_array_foreach(w->instances, n, document) {
    struct writer *one = writer_again(w);
    if (!one)
      return -ENOMEM;
    made[(*count)++] = one;
    if (json_is_object(document))
      take_document(one, document);
    else
      writer_fail(one, WRITER_IDENTIFY, UMBRA_REASON_INVALID,
                  "identify printed an array of something that is no object");
  }
  return 0;
}

int writers_spread(struct writer ***list, size_t *count, struct umbra_error *err) {
  size_t want = 0, made_count = 0, n = 0;
  for (size_t i = 0; i < *count; i++)
    want += (*list)[i]->instances ? json_array_size((*list)[i]->instances) : 1;
  if (want > WRITERS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d writers, instances of one program included",
                     WRITERS_MAX);
  struct writer **spread = calloc(want + 1, sizeof *spread), **made = calloc(want + 1, sizeof *made);
  int r = spread && made ? 0 : -ENOMEM;
  for (size_t i = 0; i < *count && r >= 0; i++) {
    size_t before = made_count;
    if ((*list)[i]->instances)
      r = spread_one((*list)[i], made, &made_count);
    else
      spread[n++] = (*list)[i];
    for (; before < made_count; before++)
      spread[n++] = made[before];
  }
  if (r < 0) {
    writers_free(made, made_count);
    free(spread);
    return error_code(err, r, "listing writers");
  }
  for (size_t i = 0; i < *count; i++)
    if ((*list)[i]->instances)
      writer_free((*list)[i]);
  free(made);
  free(*list);
  *list = spread;
  *count = n;
  return 0;
}

/* The volume that holds path, or would hold it if it existed. */
static const struct volume *volume_of(const struct volume_table *table, const char *path) {
  CLEANUP_FREE char *at = strdup(path);
  const struct volume *volume = NULL;
  while (at && volume_table_lookup(table, at, &volume, NULL, NULL) < 0) {
    char *slash = strrchr(at, '/');
    if (!slash || strcmp(at, "/") == 0)
      return NULL;
    slash[slash == at ? 1 : 0] = 0;
  }
  return volume;
}

static bool path_within(const char *inner, const char *outer) {
  size_t length = strlen(outer);
  while (length > 1 && outer[length - 1] == '/')
    length--;
  return strncmp(inner, outer, length) == 0 && (length == 1 || inner[length] == 0 || inner[length] == '/');
}

static bool path_covered(const char *path, char *const *scope) {
  for (char *const *one = scope; one && *one; one++)
    if (path_within(path, *one))
      return true;
  return !scope;
}

static bool path_concerned(const char *path, char *const *scope) {
  if (!scope)
    return true;
  for (; *scope; scope++)
    if (path_within(path, *scope) || path_within(*scope, path))
      return true;
  return false;
}

/* What the files of one component mean for its writer. */
struct reach {
  const struct volume_table *table;
  const struct volume *const *volumes;
  size_t volume_count;
  char *const *paths;
  const struct volume *missing; /* holds files and is not in the set; NULL */
};

static void involve_component(struct writer *w, const json_t *component, struct reach *reach) {
  const json_t *files = json_object_get(component, "files"), *set;
  size_t i;
  json_array_foreach(files, i, set) {
    CLEANUP_FREE char *path = NULL;
    if (json_path_value(json_object_get(set, "path"), &path) < 0)
      continue;
    const struct volume *volume = volume_of(reach->table, path);
    bool in_set = false;
    for (size_t k = 0; k < reach->volume_count && volume; k++)
      in_set = in_set || strcmp(reach->volumes[k]->key, volume->key) == 0;
    w->whole = w->whole && in_set && path_covered(path, reach->paths);
    if (in_set && path_concerned(path, reach->paths))
      w->involved = true;
    else if (volume && !in_set)
      reach->missing = volume;
  }
  /* A component may be all that its writer is asked for, without a file. */
  if (w->selection && json_array_size(files) == 0)
    w->involved = true;
}

void writer_involve(struct writer *w, const struct volume_table *table, const struct volume *const *volumes,
                    size_t volume_count, char *const *paths, const struct volume **ret_missing) {
  const json_t *components = json_object_get(w->metadata, "components"), *component;
  struct reach reach = {.table = table, .volumes = volumes, .volume_count = volume_count, .paths = paths};
  w->involved = json_array_size(components) == 0 && !w->selection;
  w->whole = true;
  size_t i;
  json_array_foreach(components, i, component) {
    char name[COMPONENT_NAME_BYTES_MAX];
    if (!w->selection || json_object_get(w->selection, component_name(component, name)))
      involve_component(w, component, &reach);
    else
      w->whole = false;
  }
  *ret_missing = w->involved ? reach.missing : NULL;
}

static json_t *describe_timings(const struct writer *w) {
  json_t *timings = json_object();
  for (int i = WRITER_PREPARE_BACKUP; i < WRITER_EVENT_MAX; i++)
    if (w->event_ns[i] > 0)
      (void)json_object_set_new(timings, event_names[i], json_real(clock_ns_to_ms(w->event_ns[i])));
  return timings;
}

json_t *writer_describe(const struct writer *w) {
  return json_pack(
      "{s:s, s:s?, s:s, s:s, s:s?, s:s?, s:o, s:b, s:b, s:o, s:O?, s:O*}", "name", w->name, "instance", w->instance,
      "level", level_names[w->level], "state", w->state, "failure", writer_failed(w) ? w->failure : NULL, "reason",
      writer_failed(w) ? error_reason_name(w->reason) : NULL, "path", json_path(w->path), "involved", w->involved,
      "whole", w->whole, "timings_ms", describe_timings(w), "selected", w->selection, "outcomes", w->outcomes);
}
