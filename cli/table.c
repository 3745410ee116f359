/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/table.h"

#include "cli/cli.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>

static const json_t *reach(const json_t *object, const char *key) {
  const char *dot = strchr(key, '.');
  char name[64];
  if (!dot)
    return json_object_get(object, key);
  (void)snprintf(name, sizeof name, "%.*s", (int)(dot - key), key);
  return reach(json_object_get(object, name), dot + 1);
}

static void to_text(const json_t *value, bool size, char *text, size_t length) {
  char bytes[CLI_SIZE_TEXT_BYTES];
  if (json_is_string(value))
    (void)snprintf(text, length, "%s", json_string_value(value));
  else if (json_is_integer(value) && size)
    (void)snprintf(text, length, "%s", cli_size(json_integer_value(value), bytes));
  else if (json_is_integer(value))
    (void)snprintf(text, length, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
  else if (json_is_real(value))
    (void)snprintf(text, length, "%.1f", json_real_value(value));
  else if (json_is_boolean(value))
    (void)snprintf(text, length, "%s", json_is_true(value) ? "yes" : "no");
  else if (json_is_array(value))
    (void)snprintf(text, length, "%zu", json_array_size(value));
  else
    (void)snprintf(text, length, "-");
}

int table_print(const json_t *list, const struct table_column *columns, size_t count) {
  struct libscols_table *table = scols_new_table();
  if (!table)
    return -ENOMEM;
  int r = 0;
  for (size_t i = 0; i < count && r == 0; i++) {
    struct libscols_column *column =
        scols_table_new_column(table, columns[i].heading, 0, columns[i].size ? SCOLS_FL_RIGHT : 0);
    r = column ? 0 : -ENOMEM;
  }
  size_t row;
  json_t *object;
  json_array_foreach(list, row, object) {
    struct libscols_line *line = r == 0 ? scols_table_new_line(table, NULL) : NULL;
    for (size_t i = 0; i < count && line && r == 0; i++) {
      char text[4096];
      to_text(reach(object, columns[i].key), columns[i].size, text, sizeof text);
      r = scols_line_set_data(line, i, text);
    }
  }
  if (r == 0)
    r = scols_print_table(table);
  scols_unref_table(table);
  return r;
}
