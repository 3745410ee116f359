/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The private mount namespace of `umbra run`: shadow copies over their volumes, everything else as it was.  See
 * DESIGN.md.
 */
#ifndef VIEW_NAMESPACE_H
#define VIEW_NAMESPACE_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A shadow copy to lay over its volume. Everything is the caller's and must live as long as the call. */
struct namespace_shadow {
  const char *mount_point; /* of the volume, as in struct volume: names it in messages, too */
  const char *fs_root;     /* which directory of the filesystem mount_point shows, as in struct volume */
  dev_t device;            /* of the filesystem, as in struct volume */
  bool whole_filesystem;   /* the view's root is the filesystem's root; false: it is what mount_point shows */
  int view_fd;        /* from view_open(); moved into the namespace, so closing it then unmounts nothing any more */
  char *const *paths; /* canonical live paths that are shown from the shadow copy; NULL: all of the volume */
};

struct namespace_plan {
  const struct namespace_shadow *shadows;
  size_t shadow_count;
  char *const *keep;             /* canonical live paths that stay live, NULL-terminated; may be NULL */
  const char *working_directory; /* canonical; must exist in the view */
  void (*warning)(void *userdata,
                  const char *message); /* what is missing in the view; may be NULL; on another thread */
  void *userdata;
};

/* Descriptors through which a process enters: setns(namespace_fd), fchdir(root_fd), chroot("."),
 * fchdir(directory_fd). */
struct namespace {
  int namespace_fd, root_fd, directory_fd;
};

/* Builds it. With the last descriptor and the last process in it, it is gone. 0 or negative errno. */
int namespace_build(const struct namespace_plan *plan, struct namespace *ret, struct umbra_error *err);
void namespace_done(struct namespace *n); /* closes; fine when empty ({-1, -1, -1}) */

#endif
