/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of streams and paths in UTF-16LE, and which extended attribute is which stream (docs/STREAMS.md). Nothing
 * here blocks.
 */
#ifndef STREAM_NAMES_H
#define STREAM_NAMES_H

#include "stream/format.h"

#include <stdbool.h>
#include <stddef.h>

/* Samba's alternate streams (vfs_streams_xattr), their value with a NUL behind. */
#define NAMES_SAMBA_STREAM "user.DosStream."
/* What keeps a stream without counterpart, and an object id. */
#define NAMES_KEPT "user.umbra.stream."

/* The whole of text as UTF-16LE: *ret is the caller's. What is no UTF-8 has a form of its own (names.c). */
int names_to_utf16(const char *text, uint8_t **ret, size_t *ret_bytes);
/* The reverse: -EILSEQ also for a NUL in it. */
int names_from_utf16(const uint8_t *name, size_t bytes, char **ret);

/*
 * The name of the stream that stands for an attribute (UTF-16LE, the caller's): ":NAME:$DATA" of Samba's,
 * ":umbra.xattr.NAME:$DATA" of any other, with %XX for what is no letter, digit, ".", "_" or "-". -EILSEQ,
 * -ENAMETOOLONG.
 */
int names_stream_of_attribute(const char *attribute, uint8_t **ret, size_t *ret_bytes);

/* The reverse: the attribute that keeps the stream (the caller's). *ret_samba: it is an alternate stream, which has a
 * NUL behind. */
int names_attribute_of_stream(const uint8_t *name, size_t bytes, char **ret, bool *ret_samba);

bool names_is_samba_stream(const char *attribute);

/* Access rights, which are read and set only when security is asked for. */
bool names_is_security(const char *attribute);

#endif
