/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree that a restore writes into.  Every step below the root goes by one component, from an open directory,
 * never through a symbolic link: whatever the backup says and whoever changes the tree meanwhile, nothing outside the
 * root is reached.
 */
#ifndef BACKUP_RESTORE_TREE_H
#define BACKUP_RESTORE_TREE_H

#include "backup/directory.h"
#include "backup/tree-path.h"
#include "common/error.h"

struct restore_tree;

/* root: made (0755) if it is not there; links in it are followed, below it none is. */
int restore_tree_new(const char *root, struct restore_tree **ret, struct umbra_error *err);
void restore_tree_free(struct restore_tree *t);
int restore_tree_root_fd(const struct restore_tree *t);

/*
 * The directory that holds path (tree-path.h) and its name in it ("." for the root itself); both the tree's until the
 * next call, take a reference to keep the directory.  create: missing directories on the way are made (0755). -ENOENT
 * without create, -ENOTDIR or -ELOOP if something else is in the way.
 */
int restore_tree_find(struct restore_tree *t, const char *path, bool create, struct directory **ret,
                      const char **ret_name, struct umbra_error *err);

/* Forgets open directories: something on the way may have been removed. */
void restore_tree_forget(struct restore_tree *t);

#endif
