/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is left out: the user's patterns and the file sets that writers exclude.
 *
 * A pattern without a slash matches a file's name anywhere; one that begins with a slash matches the absolute path;
 * any other matches the end of the path, from the beginning of a component.  * and ? do not match a slash.  What lies
 * in an excluded directory is excluded.
 */
#ifndef BACKUP_EXCLUDES_H
#define BACKUP_EXCLUDES_H

#include <stdbool.h>
#include <stddef.h>

enum { EXCLUDES_MAX = 10000 };

struct excludes;

struct excludes *excludes_new(void);
void excludes_free(struct excludes *e);

int excludes_add_pattern(struct excludes *e, const char *pattern); /* 0, -ENOMEM, -E2BIG */
int excludes_add_path(struct excludes *e, const char *path);       /* of tree-path.h; exactly this */
int excludes_add_file_set(struct excludes *e, const char *directory, const char *pattern, /* directory: absolute */
                          bool recursive);

/* path as in tree-path.h. */
bool excludes_match(const struct excludes *e, const char *path);

#endif
