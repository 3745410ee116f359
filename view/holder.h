/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who keeps a mount from being unmounted.  Source: proc(5) (cwd, root, exe, fd, map_files), statx(2). */
#ifndef VIEW_HOLDER_H
#define VIEW_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

enum { MOUNT_HOLDER_NAME_BYTES = 64 };

struct mount_holder {
  pid_t pid;
  char name[MOUNT_HOLDER_NAME_BYTES]; /* as /proc/PID/comm has it */
};

/*
 * The first process found with its working directory, its root, its program, an open file or a mapped file on the
 * mount (its id as in mountinfo and STATX_MNT_ID). False if none is seen: the kernel itself may be the one (something
 * is mounted on it, a loop device), or it has ended meanwhile. Asks no server and wakes no automount.
 */
bool mount_holder_find(int mount_id, struct mount_holder *ret);

#endif
