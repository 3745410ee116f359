/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The components that a requester selected: which writers they concern, where their files are, how their backup went.
 */
#include "coordinator/set.h"

#include "coordinator/components.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *set_writers_for_selection(struct writer *const *writers, size_t count) {
  json_t *list = json_array();
  for (size_t i = 0; i < count; i++) {
    const struct writer *w = writers[i];
    if (w->kind == WRITER_HOOK)
      continue;
    (void)json_array_append_new(list,
                                json_pack("{s:s, s:s?, s:O?, s:s?}", "name", w->name, "instance", w->instance,
                                          "metadata", w->metadata, "failure", writer_failed(w) ? w->failure : NULL));
  }
  return list;
}

/* Files that are not there yet will be where their directory is. */
static int add_nearest(struct set *s, char *path, struct umbra_error *err) {
  char *slash;
  while (access(path, F_OK) < 0 && (slash = strrchr(path, '/')) && slash > path)
    *slash = 0;
  CLEANUP_FREE char *real = realpath(access(path, F_OK) < 0 ? "/" : path, NULL);
  if (!real)
    return error_errno(err, "path '%s' of a component", path);
  if (strv_contains(s->request.paths, real))
    return 0;
  if (strv_count(s->request.paths) >= SET_PATHS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "a set can have at most %d paths", (int)SET_PATHS_MAX);
  return strv_append(&s->request.paths, real) < 0 ? error_code(err, -ENOMEM, "path '%s' of a component", path) : 0;
}

static int add_files(struct set *s, const json_t *component, struct umbra_error *err) {
  const json_t *set;
  size_t i;
  int r = 0;
  json_array_foreach(json_object_get(component, "files"), i, set) {
    CLEANUP_FREE char *path = NULL;
    if (r >= 0 && json_path_value(json_object_get(set, "path"), &path) >= 0)
      r = add_nearest(s, path, err);
  }
  return r;
}

static void warn_of_missing(struct set *s, const json_t *missing) {
  const json_t *one;
  size_t i;
  json_array_foreach(missing, i, one) {
    s->degraded = true;
    coordinator_warn(
        s->coordinator,
        "component '%s', which a selected one depends on, is not there: what depends on it may be useless without",
        json_string_value(one));
  }
}

int set_select_components(struct set *s, struct umbra_error *err) {
  if (!s->request.wanted)
    return 0;
  if (s->request.no_writers)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID,
                     "components are writers': they cannot be selected without writers");
  CLEANUP_JSON json_t *writers = set_writers_for_selection(s->writers, s->writer_count);
  CLEANUP_JSON json_t *selection = NULL;
  int r = components_select(writers, s->request.wanted, false, &selection, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < s->writer_count; i++) {
    struct writer *w = s->writers[i];
    w->selection = components_of(selection, w->name, w->instance);
    if (!w->selection)
      return error_code(err, -ENOMEM, "selecting components");
  }
  const json_t *one;
  size_t i;
  json_array_foreach(json_object_get(selection, "components"), i, one) {
    if (r >= 0 && json_is_string(json_object_get(one, "selected")))
      r = add_files(s, one, err);
  }
  warn_of_missing(s, json_object_get(selection, "missing"));
  return r;
}

/* How it went counts for what came with it, too, unless that is named itself. */
static bool is_or_is_below(const char *name, const char *upper) {
  size_t length = strlen(upper);
  return strncmp(name, upper, length) == 0 && (name[length] == 0 || name[length] == '/');
}

static int note_outcome(struct writer *w, const char *component, bool succeeded) {
  const char *name;
  json_t *as;
  if (!w->outcomes)
    w->outcomes = json_object();
  json_object_foreach(w->selection, name, as) {
    if (is_or_is_below(name, component) && (strcmp(name, component) == 0 || !json_object_get(w->outcomes, name)) &&
        json_object_set_new(w->outcomes, name, json_boolean(succeeded)) < 0)
      return -ENOMEM;
  }
  return 0;
}

int set_component_outcome(struct set *s, const char *component, bool succeeded, struct umbra_error *err) {
  bool found = false;
  for (size_t i = 0; i < s->writer_count; i++) {
    struct writer *w = s->writers[i];
    size_t length = strlen(w->name), instance_length = w->instance ? strlen(w->instance) : 0;
    const char *rest = component;
    if (strncmp(rest, w->name, length) != 0)
      continue;
    rest += length;
    if (w->instance && *rest == '/' && strncmp(rest + 1, w->instance, instance_length) == 0)
      rest += 1 + instance_length;
    if (*rest != ':' || !json_object_get(w->selection, rest + 1))
      continue;
    found = true;
    if (note_outcome(w, rest + 1, succeeded) < 0)
      return error_code(err, -ENOMEM, "component '%s'", component);
  }
  return found ? 0
               : error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "component '%s' was not selected for this set",
                           component);
}
