/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that are neither data nor directory, as reparse points ([MS-FSCC] 2.1.2): the tags that the Windows Subsystem
 * for Linux uses, which keep a symbolic link's target byte for byte; Windows' own symbolic links are understood.
 * Samba keeps a reparse point of others in the attribute user.SmbReparse.
 */
#ifndef STREAM_REPARSE_H
#define STREAM_REPARSE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define REPARSE_ATTRIBUTE "user.SmbReparse"

enum { REPARSE_BYTES_MAX = 16384 };

/* Of a file of that type (S_IFLNK, whose target it is, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK): the caller's. */
int reparse_make(mode_t type, const char *target, uint8_t **ret, size_t *ret_bytes);

/*
 * *ret_type: what it is, with the target of a symbolic link (the caller's); 0: a tag that is none of these, to be
 * kept as it is. -EBADMSG: it is not sound. -EXDEV: a link of Windows to what has no name here (C:\…).
 */
int reparse_read(const uint8_t *data, size_t bytes, mode_t *ret_type, char **ret_target);

#endif
