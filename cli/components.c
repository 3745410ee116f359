/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/components.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

int components_visit_files(const json_t *selection,
                           int (*visit)(void *userdata, const json_t *component, const json_t *set), void *userdata) {
  size_t i, k;
  const json_t *component, *set;
  json_array_foreach(json_object_get(selection, "components"), i, component) {
    if (!json_is_string(json_object_get(component, "selected")))
      continue;
    json_array_foreach(json_object_get(component, "files"), k, set) {
      int r = visit(userdata, component, set);
      if (r != 0)
        return r;
    }
  }
  return 0;
}

struct path_list {
  char ***paths;
  bool real;
};

static int add_path(void *userdata, const json_t *component, const json_t *set) {
  const struct path_list *list = userdata;
  CLEANUP_FREE char *path = NULL;
  (void)component;
  if (json_path_value(json_object_get(set, "path"), &path) < 0)
    return 0;
  CLEANUP_FREE char *real = list->real ? realpath(path, NULL) : NULL;
  const char *one = real ? real : path;
  return strv_contains(*list->paths, one) ? 0 : strv_append(list->paths, one);
}

int components_paths(const json_t *selection, bool real, char ***paths) {
  struct path_list list = {.paths = paths, .real = real};
  return components_visit_files(selection, add_path, &list);
}

bool components_in_file_set(const json_t *set, const char *path) {
  CLEANUP_FREE char *directory = NULL;
  const char *pattern = json_get_string_or(set, "pattern", "*");
  if (json_path_value(json_object_get(set, "path"), &directory) < 0)
    return false;
  size_t n = strlen(directory);
  while (n > 1 && directory[n - 1] == '/')
    n--;
  if (n == 0 || strncmp(path, directory, n) != 0 || (path[n] != '/' && path[n] != '\0'))
    return false;
  if (path[n] == '\0')
    return true; /* the set is this file */
  const char *name = strrchr(path, '/') + 1;
  bool direct = name == path + n + 1;
  return (direct || json_get_boolean_or(set, "recursive", true)) && fnmatch(pattern, name, 0) == 0;
}
