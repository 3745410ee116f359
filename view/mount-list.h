/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts of a mount namespace as someone who walks its paths meets them.  Source: proc_pid_mountinfo(5),
 * statx(2). (volume/ looks at the same file for volumes; this is about places.)
 */
#ifndef VIEW_MOUNT_LIST_H
#define VIEW_MOUNT_LIST_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listed_mount {
  int id;
  char *target;           /* absolute, from the root of whoever read the list */
  char *root;             /* the directory of the filesystem that is shown there */
  dev_t device;           /* of the filesystem */
  dev_t directory_device; /* what stat(2) says at target: on btrfs each subvolume has its own; set by
                             mount_list_keep_visible() */
  bool no_exec, no_symlinks;
};

struct mount_list {
  struct listed_mount *entries;
  size_t count;
};

/* Reads mountinfo (a path), sorted so that parents come before children and subtrees stay together. */
int mount_list_load(const char *mountinfo, struct mount_list *ret, struct umbra_error *err);
void mount_list_done(struct mount_list *m);

/*
 * Drops what cannot be reached because something is mounted over it, so that each target comes once. Looks at every
 * target without waking automounts or asking servers. Must be called by a thread of the namespace that the list is
 * of.
 */
void mount_list_keep_visible(struct mount_list *m);

/* True if path is directory or lies below it; both absolute and canonical. */
bool mount_path_within(const char *path, const char *directory);

/* What is left of path below directory ("" if the same, else without a leading slash). path must be within directory.
 */
const char *mount_path_below(const char *path, const char *directory);

/* Order of paths in which "a" comes before "a/b" and "a/b" before "a-c". For sorting. */
int mount_path_compare(const char *a, const char *b);

#endif
