/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an ordinary user may see of shadow copies, and where.  A shadow copy is his to mount if he could reach and
 * read the mount point of its volume himself, now, with the same volume there: beyond that the permissions inside are
 * those of the files. Runs in a job, which is root and single-threaded.
 */
#ifndef DAEMON_ACCESS_H
#define DAEMON_ACCESS_H

#include "daemon/directories.h"

#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * 0: he may. -EACCES: not, with the reason in words. whole: he would see the whole filesystem, also where only a part
 * of it is mounted. Becomes the user for a moment.
 */
int access_may_see(const struct directories *directories, const char *shadow_id, uid_t user, bool whole,
                   struct umbra_error *err);

/*
 * Makes RUNTIME/users/UID/SHADOW-ID, empty, for a mount that only this user can reach: an ACL lets him in, but the
 * directory is root's, so that he cannot put a link in the way.  *ret (caller frees): its path. *ret_lock (the
 * caller's): as long as it is open access_tidy() waits.
 */
int access_user_directory(const struct directories *directories, const char *shadow_id, uid_t user, char **ret,
                          int *ret_lock, struct umbra_error *err);

/* Removes such directories on which nothing is mounted any more. */
void access_tidy(const struct directories *directories);

#endif
