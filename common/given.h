/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this process was given by who started it, and changes for itself; programs that it starts get it as it was.
 * How many descriptors may be open (RLIMIT_NOFILE): as many as the hard limit allows, since a thousand writers take four
 * each, and a backup one for each level of a tree; some programs still use select().  SIGCHLD, if it is ignored: children
 * would be gone before anybody has seen how they ended.
 */
#ifndef COMMON_GIVEN_H
#define COMMON_GIVEN_H

/* Once, at the program's start. */
void given_change(void);

/* In a child, before it executes a program. Async-signal-safe. Does nothing if nothing was changed. */
void given_restore(void);

#endif
