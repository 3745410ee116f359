/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's list of mounts, oldest first, as one snapshot.  Internal to volume/: everybody else speaks of volumes.
 * Source: proc_pid_mountinfo(5). All strings belong to struct mounts and live until mounts_done().
 */
#ifndef VOLUME_MOUNTS_H
#define VOLUME_MOUNTS_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

struct mount_entry {
  int id, parent_id;
  dev_t device; /* of the superblock */
  char *root;   /* directory of the filesystem that is shown */
  char *target; /* where */
  char *fs_type, *source;
  char *options;   /* of the superblock, comma-separated */
  char *subvolume; /* btrfs: path of the subvolume within the filesystem, else NULL */
  bool hidden;     /* no path leads to it: something is mounted over it or over a directory above */
};

struct mounts {
  struct mount_entry *entries;
  size_t count;
  const struct mount_entry **by_id; /* the same, ordered by id: a machine full of containers has thousands */
};

enum { MOUNTS_MAX = 100000 }; /* the kernel's own default limit, fs.mount-max */

/* Parses text in the form of /proc/self/mountinfo. name is for messages. The caller calls mounts_done(), also on
 * failure. */
int mounts_parse(FILE *file, const char *name, struct mounts *ret, struct umbra_error *err);
void mounts_done(struct mounts *mounts);

/* NULL if there is none. */
const struct mount_entry *mounts_find(const struct mounts *mounts, int mount_id);

/* By names alone: the visible mount with the longest target that path lies below. For texts that are not this
 * machine's. */
const struct mount_entry *mounts_find_by_name(const struct mounts *mounts, const char *path);

/* Value of "name=value" or "" for "name" in the superblock's options; false if it is not there. Caller frees *ret. */
bool mount_option(const struct mount_entry *mount, const char *name, char **ret);

/* True if path is directory or lies below it. Both absolute and without trailing slash, but "/" is fine. */
bool path_is_below(const char *path, const char *directory);

#endif
