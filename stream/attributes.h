/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes as EA_DATA: a list of FILE_FULL_EA_INFORMATION ([MS-FSCC] 2.4.16), in which user.NAME is NAME,
 * as Samba has it, and owner, mode and device number are $LXUID, $LXGID, $LXMOD and $LXDEV, as the Windows Subsystem
 * for Linux has them.
 */
#ifndef STREAM_ATTRIBUTES_H
#define STREAM_ATTRIBUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ATTRIBUTES_EA_BYTES_MAX = 65535, ATTRIBUTES_VALUE_BYTES_MAX = 65536, ATTRIBUTES_LIST_BYTES_MAX = 65536 };

/* A list in the making. Zeroed it is empty; free(bytes). */
struct ea_list {
  uint8_t *bytes;
  size_t length, last; /* where the last one begins */
};

/* True: it is in the list; false: it does not fit it (name, value, or all together), or there is no memory. */
bool ea_list_add(struct ea_list *list, const char *name, const void *value, size_t value_bytes);

/* Each of a list: visit's first negative result is returned. -EBADMSG: it is no such list. */
typedef int (*ea_visit)(void *userdata, const char *name, const uint8_t *value, size_t value_bytes);
int ea_list_each(const uint8_t *list, size_t bytes, ea_visit visit, void *userdata);

/* The names of a file's attributes, NUL after NUL, *ret the caller's. fd may be O_PATH. 0 bytes where there are none.
 */
int attributes_list(int fd, char **ret, size_t *ret_bytes);

/* One value, *ret the caller's, with a NUL behind. -ENODATA: it is gone. */
int attributes_get(int fd, const char *name, uint8_t **ret, size_t *ret_bytes);
int attributes_set(int fd, const char *name, const void *value, size_t value_bytes);

#endif
