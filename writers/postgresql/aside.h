/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies where files are to be restored is moved into a subdirectory beside them: a cluster in which files of two
 * times are mixed is destroyed, and what is deleted cannot be had back.  Called as the owner of the files; no file is
 * copied.
 */
#ifndef WRITERS_POSTGRESQL_ASIDE_H
#define WRITERS_POSTGRESQL_ASIDE_H

#include <stdbool.h>

/* Of its name: ASIDE_PREFIX and what makes it unique. Backups leave it out. */
#define ASIDE_PREFIX "umbra-before-restore-"

/* Moves what directory has into directory/name, only_tablespace: its PG_* only. 0, or negative errno, and it is as
 * before. */
int aside_move(const char *directory, const char *name, bool only_tablespace);

/* Moves it back, unless something else has come meanwhile: -ENOTEMPTY. -ENOENT: nothing was moved. */
int aside_move_back(const char *directory, const char *name, bool only_tablespace);

/* The newest there; false: none. */
bool aside_find(const char *directory, char *ret_name, unsigned room_bytes);

#endif
