/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Showing a shadow copy: as a detached mount that belongs to a descriptor, so that nothing is left mounted when the
 * process that shows it ends in any way.  Source: fsopen(2), fsmount(2), open_tree(2), move_mount(2), loop(4).
 */
#ifndef VIEW_VIEW_H
#define VIEW_VIEW_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>

struct view_options {
  bool suid, dev;  /* honour set-user-ID bits, device nodes (default: neither) */
  bool read_write; /* only for a writable shadow copy */
  /*
   * With read_write: the device over the image that others may mount as well, so that all mounts are of one
   * filesystem (two devices over one image would write into each other's). Used if it still lies over it. NULL: a new
   * one.
   */
  const char *device;
};

/*
 * Opens record["view"] (providers/provider.h) as a detached mount: read-only, nosuid, nodev; ext4 with noload, XFS
 * with norecovery,nouuid: nothing is replayed or written.  A loop device made for it is read-only and goes by itself
 * (LO_FLAGS_AUTOCLEAR) with the mount.  Returns a directory descriptor (as from fsmount(2)/open_tree(2), usable with
 * openat(2) and move_mount(2)); closing it unmounts, unless it was attached.  *ret_device (may be NULL; caller
 * frees): "/dev/loop3" or NULL.
 */
int view_open(const json_t *record, const struct view_options *options, char **ret_device, struct umbra_error *err);

/* Attaches what view_open() gave at an existing directory of this mount namespace. Nested trees come along. */
int view_attach(int view_fd, const char *directory, struct umbra_error *err);

/*
 * Of a writable image that is attached at directory: everything is on the image, nothing is left to be replayed, and
 * nothing can be written there any more, through whichever mount. -EBUSY: files are open for writing. A tree: nothing
 * to do.
 */
int view_write_back(const json_t *record, const char *directory, struct umbra_error *err);

/* Unmounts what is attached at directory, nested mounts first. -EBUSY, with a process that uses it, if in use. */
int view_detach(const char *directory, struct umbra_error *err);

#endif
