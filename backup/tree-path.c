/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Order and shape of the paths in a backup. See tree-path.h. */
#include "backup/tree-path.h"

#include <string.h>

/* End of string sorts below '/', '/' below all else. */
static int order(unsigned char c) { return c == '/' ? 1 : c == '\0' ? 0 : c + 1; }

int tree_path_compare(const char *a, const char *b) {
  while (*a && *a == *b) {
    a++;
    b++;
  }
  return order((unsigned char)*a) - order((unsigned char)*b);
}

static bool component_valid(const char *name, size_t length_bytes) {
  if (length_bytes == 0 || length_bytes > TREE_NAME_BYTES_MAX)
    return false;
  if (name[0] == '.' && (length_bytes == 1 || (length_bytes == 2 && name[1] == '.')))
    return false;
  return memchr(name, '\0', length_bytes) == NULL;
}

bool tree_path_valid(const char *path, size_t length_bytes) {
  if (length_bytes > TREE_PATH_BYTES_MAX)
    return false;
  size_t depth = 0;
  while (length_bytes > 0) {
    const char *slash = memchr(path, '/', length_bytes);
    size_t component_bytes = slash ? (size_t)(slash - path) : length_bytes;
    if (!component_valid(path, component_bytes) || ++depth > TREE_DEPTH_MAX)
      return false;
    if (!slash)
      return true;
    path += component_bytes + 1;
    length_bytes -= component_bytes + 1;
    if (length_bytes == 0)
      return false; /* ends in a slash */
  }
  return true;
}

bool tree_name_valid(const char *name) {
  size_t length_bytes = strlen(name);
  return component_valid(name, length_bytes) && !memchr(name, '/', length_bytes);
}

bool tree_path_within(const char *path, const char *ancestor) {
  size_t length_bytes = strlen(ancestor);
  if (length_bytes == 0)
    return true;
  return strncmp(path, ancestor, length_bytes) == 0 && (path[length_bytes] == '\0' || path[length_bytes] == '/');
}
