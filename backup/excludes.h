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

/* From the first one on only what is in one of these is not left out. */
int excludes_add_only_file_set(struct excludes *e, const char *directory, const char *pattern, bool recursive);

/* Like a file set, but of no directories. */
int excludes_add_files(struct excludes *e, const char *directory, const char *pattern, bool recursive);

/*
 * What excludes_match() cannot say without knowing whether path is a directory: true if it is left out as a file, or
 * since it is in none of the file sets that are the only ones. Directories on the way to one of these, and below a
 * recursive one, are in.
 */
bool excludes_match_kind(const struct excludes *e, const char *path, bool is_directory);

/* path as in tree-path.h. */
bool excludes_match(const struct excludes *e, const char *path);

#endif
