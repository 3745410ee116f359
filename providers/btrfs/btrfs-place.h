/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where snapshots live: VOLUME/.umbra/ID/N/tree, directories that only root may enter, on the volume itself because a
 * snapshot cannot lie on another filesystem.  Opening never follows a symlink and never crosses into another mount.
 */
#ifndef PROVIDERS_BTRFS_BTRFS_PLACE_H
#define PROVIDERS_BTRFS_BTRFS_PLACE_H

#include "common/error.h"

#include <stdbool.h>

#define BTRFS_PLACE_NAME ".umbra"
#define BTRFS_PLACE_TREE "tree"

enum { BTRFS_UUID_TEXT_BYTES = 37 };

/* Makes .umbra if there is none and .umbra/ID in it. Returns a descriptor of the latter. -EPERM if .umbra is not
 * root's own. */
int btrfs_place_make(int root_fd, const char *id, struct umbra_error *err);

/*
 * Removes .umbra/ID with every subvolume in it, then .umbra if that is empty now. 0 also if there was none.  Does not
 * wait for the space to be freed: the kernel's cleaner does that later.
 */
int btrfs_place_remove(int root_fd, const char *id, struct umbra_error *err);

/* Opens path below root_fd as a directory. Negative errno. */
int btrfs_place_open_below(int root_fd, const char *path);

/* True for the path of anything within a place, at any depth: ".umbra/…" or "a/.umbra/…". */
bool btrfs_place_contains(const char *path);

/* The UUID of the filesystem that fd lies on. 0 or negative errno (-ENOTTY: no btrfs). */
int btrfs_place_filesystem_uuid(int fd, char ret[BTRFS_UUID_TEXT_BYTES]);

#endif
