/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/components.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *wrong_file_sets(const json_t *sets) {
  size_t i;
  const json_t *set;
  if (sets && !json_is_array(sets))
    return "a list of files is not an array";
  json_array_foreach(sets, i, set) {
    CLEANUP_FREE char *path = NULL;
    if (json_path_value(json_object_get(set, "path"), &path) < 0 || path[0] != '/')
      return "a file set has no absolute 'path'";
    /* What is meant to be "*" or all below is what is not said: no slip of the pen takes everything. */
    const json_t *pattern = json_object_get(set, "pattern"), *recursive = json_object_get(set, "recursive");
    if (pattern && (!json_is_string(pattern) || json_string_length(pattern) == 0))
      return "a file set has a 'pattern' that is none";
    if (recursive && !json_is_boolean(recursive))
      return "a file set's 'recursive' is neither true nor false";
  }
  return NULL;
}

/* No part of it may be empty: "a//b" would be another name of what "a/b" is above of. */
static bool good_logical_path(const char *path) {
  size_t length = strlen(path);
  return length == 0 || (path[0] != '/' && path[length - 1] != '/' && !strstr(path, "//"));
}

const char *components_wrong(const json_t *components) {
  static const char *const lists[] = {"files", "excludes", "shadow_excludes"};
  const char *wrong = NULL;
  size_t i;
  const json_t *component;
  if (components && !json_is_array(components))
    return "'components' is not an array";
  if (json_array_size(components) > COMPONENTS_MAX)
    return "there are more components than a writer can have (4096)";
  json_array_foreach(components, i, component) {
    const char *name = json_get_string_or(component, "name", NULL),
               *logical = json_get_string_or(component, "logical_path", "");
    if (!name)
      return "a component has no name";
    if (strlen(name) + strlen(logical) + 2 > COMPONENT_NAME_BYTES_MAX)
      return "a component's name is too long";
    if (!good_logical_path(logical))
      return "a component's 'logical_path' has an empty part";
    for (size_t k = 0; k < sizeof lists / sizeof lists[0] && !wrong; k++)
      wrong = wrong_file_sets(json_object_get(component, lists[k]));
    if (wrong)
      return wrong;
  }
  return NULL;
}

const char *component_name(const json_t *component, char buffer[COMPONENT_NAME_BYTES_MAX]) {
  const char *logical = json_get_string_or(component, "logical_path", "");
  (void)snprintf(buffer, COMPONENT_NAME_BYTES_MAX, "%s%s%s", logical, *logical ? "/" : "",
                 json_get_string_or(component, "name", ""));
  return buffer;
}

char *components_spec(const json_t *writer, const char *name) {
  const char *instance = json_get_string_or(writer, "instance", NULL);
  char *spec;
  int n = asprintf(&spec, "%s%s%s:%s", json_get_string_or(writer, "name", ""), instance ? "/" : "",
                   instance ? instance : "", name);
  return n < 0 ? NULL : spec;
}

/* ---- one component among the others ---- */

static const char *name_of(const json_t *one) { return json_get_string_or(one, "name", ""); }
static const char *how(const json_t *one) { return json_get_string_or(one, "selected", NULL); }

static bool same_instance(const json_t *a, const json_t *b) {
  return strcmp(json_get_string_or(a, "writer", ""), json_get_string_or(b, "writer", "")) == 0 &&
         strcmp(json_get_string_or(a, "instance", ""), json_get_string_or(b, "instance", "")) == 0;
}

static bool above(const json_t *upper, const json_t *lower) {
  size_t length = strlen(name_of(upper));
  return same_instance(upper, lower) && strncmp(name_of(lower), name_of(upper), length) == 0 &&
         name_of(lower)[length] == '/';
}

static bool selectable(const json_t *one, bool for_restore) {
  bool by_itself = json_get_boolean_or(one, "selectable", true);
  /* Of a backup: what was named when it was made can be named again. */
  return for_restore ? strcmp(json_get_string_or(one, "in_backup", "explicit"), "implicit") != 0 ||
                           json_get_boolean_or(one, "selectable_for_restore", false)
                     : by_itself;
}

/* Those of one instance stand together: where they begin. Looking at all others for each would take long with many
 * writers. */
static size_t first_of_instance(const json_t *list, size_t index) {
  const json_t *one = json_array_get(list, index);
  while (index > 0 && same_instance(json_array_get(list, index - 1), one))
    index--;
  return index;
}

/* The nearest one above that is selectable; NULL: none. */
static const json_t *selectable_above(const json_t *list, size_t index) {
  const json_t *one = json_array_get(list, index), *other, *nearest = NULL;
  for (size_t i = first_of_instance(list, index); (other = json_array_get(list, i)) && same_instance(other, one);
       i++) {
    if (above(other, one) && json_get_boolean_or(other, "selectable", true) &&
        (!nearest || strlen(name_of(other)) > strlen(name_of(nearest))))
      nearest = other;
  }
  return nearest;
}

/* ---- the list ---- */

static int add_writer(json_t *list, const json_t *writer, bool for_restore) {
  static const char *const kept[] = {
      "type", "files", "excludes", "shadow_excludes", "restore", "dependencies", "selectable_for_restore"};
  const json_t *metadata = json_object_get(writer, "metadata"), *in_backup = json_object_get(writer, "selected"),
               *component;
  size_t i;
  json_array_foreach(json_object_get(metadata, "components"), i, component) {
    char name[COMPONENT_NAME_BYTES_MAX];
    const json_t *saved = json_object_get(in_backup, component_name(component, name));
    if (for_restore && json_is_object(in_backup) && !saved)
      continue; /* it is not in the backup */
    CLEANUP_FREE char *spec = components_spec(writer, name);
    json_t *one = spec ? json_pack("{s:s, s:O, s:O?, s:s, s:b, s:n, s:O*}", "component", spec, "writer",
                                   json_object_get(writer, "name"), "instance", json_object_get(writer, "instance"),
                                   "name", name, "selectable", json_get_boolean_or(component, "selectable", true),
                                   "selected", "in_backup", saved)
                       : NULL;
    if (!one)
      return -ENOMEM;
    for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++)
      if (json_object_get(component, kept[k]))
        (void)json_object_set(one, kept[k], json_object_get(component, kept[k]));
    if (json_array_append_new(list, one) < 0)
      return -ENOMEM;
  }
  return 0;
}

static void mark(json_t *one, const char *as) { (void)json_object_set_new(one, "selected", json_string(as)); }

/* "WRITER:NAME" also of one that has an instance. */
static bool is_called(const json_t *one, const char *wanted) {
  const char *writer = json_get_string_or(one, "writer", "");
  size_t length = strlen(writer);
  return strcmp(json_get_string_or(one, "component", ""), wanted) == 0 ||
         (strncmp(wanted, writer, length) == 0 && wanted[length] == ':' &&
          strcmp(wanted + length + 1, name_of(one)) == 0);
}

/* A writer that cannot take part has no components to choose from: that is why, then. */
static const char *failure_of(const json_t *writers, const char *wanted) {
  const json_t *writer;
  size_t i;
  json_array_foreach(writers, i, writer) {
    const char *name = json_get_string_or(writer, "name", "");
    size_t length = strlen(name);
    if (strncmp(wanted, name, length) == 0 && strchr(":/", wanted[length]))
      return json_get_string_or(writer, "failure", NULL);
  }
  return NULL;
}

static int take_wanted(json_t *list, const json_t *writers, const char *wanted, bool for_restore,
                       struct umbra_error *err) {
  bool found = false;
  size_t i;
  json_t *one;
  json_array_foreach(list, i, one) {
    if (!is_called(one, wanted))
      continue;
    const json_t *upper = selectable_above(list, i);
    if (upper && !selectable(one, for_restore))
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID,
                       "component '%s' cannot be selected alone: it comes with '%s'", wanted,
                       json_get_string_or(upper, "component", ""));
    mark(one, "explicit");
    found = true;
  }
  if (found)
    return 0;
  const char *failure = failure_of(writers, wanted);
  return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND,
                   "there is no component '%s'%s%s (see: umbra list components)", wanted, failure ? ": " : "",
                   failure ? failure : "");
}

/* ---- what else comes ---- */

static bool writer_is_in(const json_t *list, size_t index) {
  const json_t *one = json_array_get(list, index), *other;
  for (size_t i = first_of_instance(list, index); (other = json_array_get(list, i)) && same_instance(other, one); i++)
    if (how(other))
      return true;
  return false;
}

static bool below_a_selected(const json_t *list, size_t index) {
  const json_t *one = json_array_get(list, index), *other;
  for (size_t i = first_of_instance(list, index); (other = json_array_get(list, i)) && same_instance(other, one); i++)
    if (how(other) && json_get_boolean_or(other, "selectable", true) && above(other, one))
      return true;
  return false;
}

/* Marks what one depends on; what is not there goes to missing. Returns whether anything was marked. */
static bool take_dependencies(json_t *list, const json_t *one, json_t *missing) {
  const json_t *dependency;
  bool marked = false;
  size_t i, k;
  json_t *other;
  json_array_foreach(json_object_get(one, "dependencies"), i, dependency) {
    const char *writer = json_get_string_or(dependency, "writer", ""),
               *instance = json_get_string_or(dependency, "instance", NULL),
               *name = json_get_string_or(dependency, "component", "");
    bool found = false;
    json_array_foreach(list, k, other) {
      if (strcmp(json_get_string_or(other, "writer", ""), writer) != 0 || strcmp(name_of(other), name) != 0 ||
          (instance && strcmp(json_get_string_or(other, "instance", ""), instance) != 0))
        continue;
      found = true;
      marked = marked || !how(other);
      if (!how(other))
        mark(other, "dependency");
    }
    json_t *text =
        found ? NULL : json_sprintf("%s%s%s:%s", writer, instance ? "/" : "", instance ? instance : "", name);
    if (text && missing)
      (void)json_array_append(missing, text);
    json_decref(text);
  }
  return marked;
}

/* One round; true: it marked something, which may bring more. */
static bool take_consequences(json_t *list, bool for_restore) {
  bool marked = false;
  size_t i;
  json_t *one;
  json_array_foreach(list, i, one) {
    if (!how(one) && below_a_selected(list, i))
      mark(one, "implicit");
    else if (!for_restore && !how(one) && !json_get_boolean_or(one, "selectable", true) &&
             !selectable_above(list, i) && writer_is_in(list, i))
      mark(one, "required");
    else if (!how(one) || for_restore || !take_dependencies(list, one, NULL))
      continue;
    marked = true;
  }
  return marked;
}

int components_select(const json_t *writers, char *const *wanted, bool for_restore, json_t **ret,
                      struct umbra_error *err) {
  CLEANUP_JSON json_t *list = json_array(), *missing = json_array();
  const json_t *writer;
  size_t i;
  int r = list && missing ? 0 : -ENOMEM;
  json_array_foreach(writers, i, writer) {
    if (r >= 0)
      r = add_writer(list, writer, for_restore);
  }
  if (r < 0)
    return error_code(err, r, "looking at the components");
  if (strv_count(wanted) > SELECTIONS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d components were named", SELECTIONS_MAX);
  for (char *const *one = wanted; one && *one && r >= 0; one++)
    r = take_wanted(list, writers, *one, for_restore, err);
  if (r < 0)
    return r;
  while (wanted && take_consequences(list, for_restore))
    ;
  /* Once more, for those that are not there: each is named once. */
  json_t *one;
  json_array_foreach(list, i, one) {
    if (how(one) && !for_restore)
      (void)take_dependencies(list, one, missing);
  }
  *ret = json_pack("{s:O, s:O}", "components", list, "missing", missing);
  return *ret ? 0 : error_code(err, -ENOMEM, "looking at the components");
}

json_t *components_of(const json_t *selection, const char *writer, const char *instance) {
  json_t *names = json_object();
  const json_t *one;
  size_t i;
  json_array_foreach(json_object_get(selection, "components"), i, one) {
    if (how(one) && strcmp(json_get_string_or(one, "writer", ""), writer) == 0 &&
        strcmp(json_get_string_or(one, "instance", ""), instance ? instance : "") == 0)
      (void)json_object_set(names, name_of(one), json_object_get(one, "selected"));
  }
  return names;
}
