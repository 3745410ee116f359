/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server program around a restore: whether it runs on some files, stopping and starting its unit, its tools. */
#ifndef WRITERS_SERVICE_H
#define WRITERS_SERVICE_H

#include <stdbool.h>
#include <sys/types.h>

/* True if the process is called one of names (a NULL-terminated list), as in /proc/PID/comm. */
bool service_is_called(pid_t pid, const char *const *names);

/* The process called one of names that has the directory as its working directory; 0: none. As root. */
pid_t service_process_in(const char *directory, const char *const *names);

/*
 * True if the working directory of the process, where servers have their files, is the same one for us under the same
 * name; a container's is not. As root.
 */
bool service_is_here(pid_t pid);

/* The systemd unit that the process is in, free(); NULL: none, or no memory. */
char *service_unit(pid_t pid);

bool service_is_managed(void); /* by systemd, which runs here */

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
