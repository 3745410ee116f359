/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of a restore that have not got their name yet: ".umbra-restore-" and 16 hexadecimal digits, in the directory
 * that they are for.  Each is locked (flock) as long as its maker lives: so whoever gets the lock of one that is
 * still there knows that nobody will finish it, also where the maker had another pid namespace or another boot.
 */
#ifndef BACKUP_TEMPORARY_H
#define BACKUP_TEMPORARY_H

#include <stdbool.h>

enum { TEMPORARY_NAME_BYTES = 32 };

/* Makes one and locks it (a filesystem without locks: not). Returns its descriptor, open for writing, or -errno. */
int temporary_make(int dir_fd, char ret_name[TEMPORARY_NAME_BYTES]);

/*
 * Removes from one directory those whose makers are dead. Only regular files with one name of exactly this form;
 * nothing is followed. What cannot be looked at stays.
 */
void temporary_remove_left(int dir_fd);

/* True for a name of exactly this form. */
bool temporary_name_valid(const char *name);

#endif
