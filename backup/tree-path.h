/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Paths as a backup keeps them: absolute paths without the leading slash ("" is the root directory), bytes without
 * NUL, no empty component, no "." or "..".
 *
 * Tree order is the order of a depth-first walk whose siblings are sorted by their bytes: '/' sorts below every other
 * byte, so that what lies in "a" comes right after "a" and before "a.b".  Index, archive and walk all have it, which
 * is why merging them needs no memory.
 */
#ifndef BACKUP_TREE_PATH_H
#define BACKUP_TREE_PATH_H

#include <stdbool.h>
#include <stddef.h>

/* What a path of the kernel can have, and room for trees that are deeper than that. */
enum { TREE_PATH_BYTES_MAX = 16 * 1024, TREE_NAME_BYTES_MAX = 255, TREE_DEPTH_MAX = 2048 };

int tree_path_compare(const char *a, const char *b); /* <0, 0, >0 */

bool tree_path_valid(const char *path, size_t length_bytes);
bool tree_name_valid(const char *name); /* one component */

/* True if path is ancestor itself or lies below it. "" is above everything. */
bool tree_path_within(const char *path, const char *ancestor);

/* True if one of the two lies within the other. */
static inline bool tree_path_related(const char *a, const char *b) {
  return tree_path_within(a, b) || tree_path_within(b, a);
}

#endif
