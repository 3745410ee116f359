/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Documents: jansson with ownership by scope, limited sizes and whole-file replacement.  What comes from outside is
 * read with these getters, which check types; a wrong type is an error with the key's name, never an assertion.
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/cleanup.h"
#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { JSON_DOCUMENT_BYTES_MAX = 64 * 1024 * 1024 };

static inline void cleanup_json_decref(json_t **json) { json_decref(*json); }
#define CLEANUP_JSON CLEANUP(cleanup_json_decref)

/* Parses text that need not end in NUL. name is for the message. The caller owns *ret. */
int json_parse(const char *text, size_t length_bytes, const char *name, json_t **ret, struct umbra_error *err);

/* Reads dir_fd/name (AT_FDCWD allowed), at most JSON_DOCUMENT_BYTES_MAX. */
int json_read_file(int dir_fd, const char *name, json_t **ret, struct umbra_error *err);

/* Writes dir_fd/name as a whole, indented, newline at the end; durable as in fd_replace_file(). */
int json_write_file(int dir_fd, const char *name, const json_t *json, mode_t mode, bool durable,
                    struct umbra_error *err);

/*
 * Getters: 0, or negative with a message that names the key. Strings are borrowed from the object.  A missing key
 * gives the fallback of json_get_*_or, -ENOENT from the others.
 */
int json_get_string(const json_t *object, const char *key, const char **ret, struct umbra_error *err);
int json_get_integer(const json_t *object, const char *key, json_int_t *ret, struct umbra_error *err);
const char *json_get_string_or(const json_t *object, const char *key, const char *fallback);
json_int_t json_get_integer_or(const json_t *object, const char *key, json_int_t fallback);
bool json_get_boolean_or(const json_t *object, const char *key, bool fallback);

/*
 * File names are bytes, JSON strings are Unicode.  json_path() makes a string of any path: valid UTF-8 stays as it
 * is, anything else becomes "\\x:" followed by the path with bytes from 0x80 up, and backslashes, as "\\NN" in
 * hexadecimal. json_path_value() gives the bytes back (caller frees), or -EBADMSG.
 */
json_t *json_path(const char *path);
int json_path_value(const json_t *json, char **ret);

/* Makes text of bytes that were said to be: what is no UTF-8, a character cut off at the end included, becomes '?'. */
void json_make_text(char *bytes);

#endif
