/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many descriptors this process may have open: as many as it is allowed (RLIMIT_NOFILE, the hard limit), since a
 * thousand writers take four each, and a backup one for each level of a tree.  Programs that are started get what we
 * were given: some still use select().
 */
#ifndef COMMON_FD_LIMIT_H
#define COMMON_FD_LIMIT_H

/* Once, at the program's start. */
void fd_limit_raise(void);

/* In a child, before it executes a program. Async-signal-safe. Does nothing if nothing was raised. */
void fd_limit_restore(void);

#endif
