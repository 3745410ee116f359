/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who still uses a shadow copy that is about to go.  Source: proc_pid_mountinfo(5), pidfd_send_signal(2).
 */
#ifndef VIEW_USERS_H
#define VIEW_USERS_H

#include "common/error.h"

#include <jansson.h>

enum { VIEW_USERS_TERM_MS = 2000, VIEW_USERS_KILL_MS = 5000, VIEW_USERS_MAX = 65536 };

/*
 * Before the tree of an auto-release shadow copy is removed: ends every process in a private namespace of view_run()
 * that shows it at (or below) mount_point, with SIGTERM, and with SIGKILL those that are left after
 * VIEW_USERS_TERM_MS. A program that went on would find directories empty that were not, and take that for the truth.
 * An image needs no such care, it stays readable, so for one this does nothing. Blocks until they have ended. -EBUSY,
 * with a pid, if one does not.
 */
int view_end_users(const json_t *record, const char *mount_point, struct umbra_error *err);

#endif
