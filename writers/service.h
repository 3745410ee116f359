/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server program around a restore: whether it runs on some files, stopping and starting its unit, its tools. */
#ifndef WRITERS_SERVICE_H
#define WRITERS_SERVICE_H

#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* True if the process is called one of names (a NULL-terminated list), as in /proc/PID/comm. */
bool service_is_called(pid_t pid, const char *const *names);

/* The process called one of names that has the directory as its working directory; 0: none. As root. */
pid_t service_process_in(const char *directory, const char *const *names);

/*
 * True if the process has our root directory, and its working directory, where servers have their files, is the same
 * one for us under the same name; a container's is not. As root.
 */
bool service_is_here(pid_t pid);

/* True for a file that root owns and nobody else may write, nor any of its directories; path without links. */
bool service_is_roots(const char *path);

enum { SERVICES_MAX = 256, ORDINARY_USERS_S = 10 };

/*
 * Calls visit for each process called one of names that is here, until it returns a negative number, which is
 * returned then. 1 of it counts: more than SERVICES_MAX of them fail with -E2BIG.
 * Those of ordinary users (1000 to 60000) come last, and have ORDINARY_USERS_S and the room that is left, together:
 * after that they are left out, with a warning. As root.
 */
int service_each(const char *const *names, int (*visit)(pid_t pid, void *userdata), void *userdata,
                 struct umbra_error *err);

/* "redis@6379", of the user and where it listens. What no name may have is left out; of a long one the end is kept.
 */
void service_name(uid_t user, const char *where, char *ret, size_t ret_bytes);

/*
 * 1: that the server did not let us in is a failure of the writer; 0: it is an ordinary user's, who may call anything
 * by that name: no reason to call every backup incomplete, and a warning says so.
 */
int service_failure_counts(const char *writer, const char *instance, uid_t user, const struct umbra_error *failure);

/* The systemd unit that the process is in, free(); NULL: none, or no memory. */
char *service_unit(pid_t pid);

bool service_is_managed(void); /* by systemd, which runs here */

/* The unit's property as systemctl shows it, free(). -EFBIG past SERVICE_PROPERTY_BYTES_MAX. Blocks. */
enum { SERVICE_PROPERTY_BYTES_MAX = 64 * 1024 };
int service_property(const char *unit, const char *property, char **ret);

/* False if systemd does not run here, or says no. Block until it is done. */
bool service_stop(const char *unit);
bool service_start(const char *unit);

/*
 * Runs a program, its input and output /dev/null, as user and group where we are root and user is not (uid_t)-1. Its
 * exit status; -ENOENT: not installed; or another negative errno.
 */
int service_run(uid_t user, gid_t group, const char *const *arguments);

/* As root: whether the user can read the file. What is restored to a new place may lie where only root can go. */
bool service_user_reaches(uid_t user, gid_t group, const char *path);

#endif
