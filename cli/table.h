/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A list of JSON objects as a table on standard output, by libsmartcols. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct table_column {
  const char *key; /* of the object; a path "a.b" reaches into it */
  const char *heading;
  bool size; /* a number of bytes, for people */
};

/* Prints one line an object. 0 or negative errno. */
int table_print(const json_t *list, const struct table_column *columns, size_t count);

#endif
