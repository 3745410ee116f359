/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which paths of the volume are wanted.  Paths are relative to the volume's root, without leading or doubled slashes;
 * "" is the root itself.  Constant once made; every test is a lookup in a sorted list and allocates nothing.
 */
#ifndef PROVIDERS_FILES_SCOPE_H
#define PROVIDERS_FILES_SCOPE_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

struct scope {
  char **paths; /* sorted in walk order (path_compare), none below another; NULL: everything */
  size_t count;
};

/* Where a path stands to the scope. */
enum scope_place {
  SCOPE_OUTSIDE, /* not wanted */
  SCOPE_WAY,    /* a directory on the way to something wanted: it exists, with its metadata, and nothing else of it */
  SCOPE_INSIDE, /* wanted, with everything below */
};

/* paths: absolute live paths below mount_point, or NULL for the whole volume. 0, -EXDEV for a path elsewhere,
 * -ENOMEM. */
int scope_init(struct scope *scope, char *const *paths, const char *mount_point, struct umbra_error *err);
void scope_done(struct scope *scope);

enum scope_place scope_place(const struct scope *scope, const char *path, size_t length);

/*
 * The order of the walk: a directory before what is in it, siblings by the bytes of their names.  Same as comparing
 * with '/' sorted below every other byte.
 */
int path_compare(const char *a, size_t a_length, const char *b, size_t b_length);

#endif
