/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Patterns of what is left out. See excludes.h. */
#include "backup/excludes.h"

#include "backup/tree-path.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

enum exclude_kind {
  EXCLUDE_NAME,
  EXCLUDE_ABSOLUTE,
  EXCLUDE_TAIL,
  EXCLUDE_PATH,
  EXCLUDE_FILE_SET,
  EXCLUDE_FILES,
  EXCLUDE_ALL_BUT
};

struct exclude {
  enum exclude_kind kind;
  char *pattern;
  char *directory; /* EXCLUDE_FILE_SET: without its leading slash */
  bool recursive;
};

struct excludes {
  struct exclude *list;
  size_t count, capacity;
  size_t all_but_count; /* of the list */
};

struct excludes *excludes_new(void) {
  return calloc(1, sizeof(struct excludes));
}

void excludes_free(struct excludes *e) {
  if (!e)
    return;
  for (size_t i = 0; i < e->count; i++) {
    free(e->list[i].pattern);
    free(e->list[i].directory);
  }
  free(e->list);
  free(e);
}

static const char *without_slashes(const char *path) { return path + strspn(path, "/"); }

static int add(struct excludes *e, struct exclude x, const char *pattern, const char *directory) {
  if (e->count == EXCLUDES_MAX)
    return -E2BIG;
  if (e->count == e->capacity) {
    size_t capacity = e->capacity ? 2 * e->capacity : 16;
    struct exclude *larger = realloc(e->list, capacity * sizeof *larger);
    if (!larger)
      return -ENOMEM;
    e->list = larger;
    e->capacity = capacity;
  }
  x.pattern = strdup(pattern);
  x.directory = directory ? strdup(without_slashes(directory)) : NULL;
  if (!x.pattern || (directory && !x.directory)) {
    free(x.pattern);
    free(x.directory);
    return -ENOMEM;
  }
  if (x.directory) {
    size_t n = strlen(x.directory);
    while (n > 0 && x.directory[n - 1] == '/')
      x.directory[--n] = '\0';
  }
  e->list[e->count++] = x;
  return 0;
}

int excludes_add_pattern(struct excludes *e, const char *pattern) {
  CLEANUP_FREE char *trimmed = strdup(pattern);
  if (!trimmed)
    return -ENOMEM;
  for (size_t n = strlen(trimmed); n > 1 && trimmed[n - 1] == '/'; n--)
    trimmed[n - 1] = '\0';
  if (!strchr(trimmed, '/'))
    return add(e, (struct exclude){.kind = EXCLUDE_NAME}, trimmed, NULL);
  if (trimmed[0] == '/')
    return add(e, (struct exclude){.kind = EXCLUDE_ABSOLUTE}, without_slashes(trimmed), NULL);
  return add(e, (struct exclude){.kind = EXCLUDE_TAIL}, trimmed, NULL);
}

int excludes_add_path(struct excludes *e, const char *path) {
  return add(e, (struct exclude){.kind = EXCLUDE_PATH}, path, NULL);
}

int excludes_add_file_set(struct excludes *e, const char *directory, const char *pattern, bool recursive) {
  return add(e, (struct exclude){.kind = EXCLUDE_FILE_SET, .recursive = recursive}, pattern, directory);
}

int excludes_add_files(struct excludes *e, const char *directory, const char *pattern, bool recursive) {
  return add(e, (struct exclude){.kind = EXCLUDE_FILES, .recursive = recursive}, pattern, directory);
}

int excludes_add_only_file_set(struct excludes *e, const char *directory, const char *pattern, bool recursive) {
  int r = add(e, (struct exclude){.kind = EXCLUDE_ALL_BUT, .recursive = recursive}, pattern, directory);
  e->all_but_count += r == 0;
  return r;
}

static bool tail_matches(const char *pattern, const char *path) {
  for (const char *at = path; at; at = strchr(at, '/')) {
    at += *at == '/';
    if (fnmatch(pattern, at, FNM_PATHNAME) == 0)
      return true;
  }
  return false;
}

static bool file_set_matches(const struct exclude *x, const char *path, const char *name) {
  size_t length_bytes = strlen(x->directory);
  if (!tree_path_within(path, x->directory) || path[length_bytes] == '\0')
    return false;
  size_t parent_bytes = name > path ? (size_t)(name - path - 1) : 0;
  return (x->recursive || parent_bytes == length_bytes) && fnmatch(x->pattern, name, 0) == 0;
}

bool excludes_match(const struct excludes *e, const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  for (size_t i = 0; i < e->count; i++) {
    const struct exclude *x = &e->list[i];
    bool matches = false;
    switch (x->kind) {
    case EXCLUDE_NAME:
      matches = fnmatch(x->pattern, name, 0) == 0;
      break;
    case EXCLUDE_ABSOLUTE:
      matches = fnmatch(x->pattern, path, FNM_PATHNAME) == 0;
      break;
    case EXCLUDE_TAIL:
      matches = tail_matches(x->pattern, path);
      break;
    case EXCLUDE_PATH:
      matches = strcmp(x->pattern, path) == 0;
      break;
    case EXCLUDE_FILE_SET:
      matches = file_set_matches(x, path, name);
      break;
    case EXCLUDE_FILES:
    case EXCLUDE_ALL_BUT:
      break;
    }
    if (matches)
      return true;
  }
  return false;
}

static bool is_in(const struct exclude *x, const char *path, const char *name, bool is_directory) {
  if (strcmp(path, x->directory) == 0 || file_set_matches(x, path, name))
    return true;
  return is_directory &&
         (tree_path_within(x->directory, path) || (x->recursive && tree_path_within(path, x->directory)));
}

bool excludes_match_kind(const struct excludes *e, const char *path, bool is_directory) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  bool in = e->all_but_count == 0;
  for (size_t i = 0; i < e->count; i++) {
    const struct exclude *x = &e->list[i];
    if (x->kind == EXCLUDE_FILES && !is_directory && file_set_matches(x, path, name))
      return true;
    in = in || (x->kind == EXCLUDE_ALL_BUT && is_in(x, path, name, is_directory));
  }
  return !in;
}
