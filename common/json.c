/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/json.h"

#include "common/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Marks a path that had to be escaped. No real absolute path begins like this. */
static const char escaped_prefix[] = "\\x:";

int json_parse(const char *text, size_t length_bytes, const char *name, json_t **ret, struct umbra_error *err) {
  json_error_t where;
  json_t *json = json_loadb(text, length_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
  if (!json)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "reading '%s': not valid JSON: %s at line %d", name,
                     where.text, where.line);
  *ret = json;
  return 0;
}

int json_read_file(int dir_fd, const char *name, json_t **ret, struct umbra_error *err) {
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  int r = fd_read_file(dir_fd, name, JSON_DOCUMENT_BYTES_MAX, &text, &length);
  if (r < 0)
    return error_code(err, r, "reading '%s'", name);
  return json_parse(text, length, name, ret, err);
}

int json_write_file(int dir_fd, const char *name, const json_t *json, mode_t mode, bool durable,
                    struct umbra_error *err) {
  CLEANUP_FREE char *text = json_dumps(json, JSON_INDENT(2));
  if (!text)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "writing '%s': document cannot be encoded", name);
  size_t length = strlen(text);
  text[length++] = '\n'; /* takes the place of the NUL */
  int r = fd_replace_file(dir_fd, name, text, length, mode, durable);
  return r < 0 ? error_code(err, r, "writing '%s'", name) : 0;
}

int json_get_string(const json_t *object, const char *key, const char **ret, struct umbra_error *err) {
  const json_t *value = json_object_get(object, key);
  if (!value)
    return error_set(err, -ENOENT, UMBRA_REASON_INVALID, "'%s' is missing", key);
  if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
    return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "'%s' is not a string", key);
  *ret = json_string_value(value);
  return 0;
}

int json_get_integer(const json_t *object, const char *key, json_int_t *ret, struct umbra_error *err) {
  const json_t *value = json_object_get(object, key);
  if (!value)
    return error_set(err, -ENOENT, UMBRA_REASON_INVALID, "'%s' is missing", key);
  if (!json_is_integer(value))
    return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "'%s' is not a whole number", key);
  *ret = json_integer_value(value);
  return 0;
}

const char *json_get_string_or(const json_t *object, const char *key, const char *fallback) {
  const char *value = fallback;
  return json_get_string(object, key, &value, NULL) < 0 ? fallback : value;
}

json_int_t json_get_integer_or(const json_t *object, const char *key, json_int_t fallback) {
  json_int_t value = fallback;
  return json_get_integer(object, key, &value, NULL) < 0 ? fallback : value;
}

bool json_get_boolean_or(const json_t *object, const char *key, bool fallback) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : fallback;
}

json_t *json_path(const char *path) {
  /* json_string() refuses what is not UTF-8, which is the test we want. */
  json_t *plain = strncmp(path, escaped_prefix, sizeof escaped_prefix - 1) == 0 ? NULL : json_string(path);
  if (plain)
    return plain;
  size_t length = strlen(path);
  CLEANUP_FREE char *escaped = malloc(sizeof escaped_prefix + length * 4);
  if (!escaped)
    return NULL;
  char *to = escaped + sprintf(escaped, "%s", escaped_prefix);
  for (const unsigned char *from = (const unsigned char *)path; *from; from++)
    if (*from >= 0x80 || *from == '\\')
      to += sprintf(to, "\\%02x", *from);
    else
      *to++ = (char)*from;
  *to = 0;
  return json_string(escaped);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int json_path_value(const json_t *json, char **ret) {
  const char *text = json_string_value(json);
  if (!text || strlen(text) != json_string_length(json))
    return -EBADMSG;
  CLEANUP_FREE char *path = strdup(text);
  if (!path)
    return -ENOMEM;
  if (strncmp(text, escaped_prefix, sizeof escaped_prefix - 1) == 0) {
    char *to = path;
    for (const char *from = text + sizeof escaped_prefix - 1; *from; from++) {
      if (*from != '\\') {
        *to++ = *from;
        continue;
      }
      int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
      if (high < 0 || low < 0 || (high == 0 && low == 0))
        return -EBADMSG;
      *to++ = (char)(high * 16 + low);
      from += 2;
    }
    *to = 0;
  }
  *ret = take_pointer(path);
  return 0;
}

/* How many of the bytes that follow the first one belong to its character; -1: it begins none. */
static int following_bytes(unsigned char first) {
  if (first < 0x80)
    return 0;
  if (first >= 0xc2 && first <= 0xdf)
    return 1;
  if (first >= 0xe0 && first <= 0xef)
    return 2;
  return first >= 0xf0 && first <= 0xf4 ? 3 : -1;
}

void json_make_text(char *bytes) {
  for (char *at = bytes; *at;) {
    char one[5] = {at[0]};
    int more = following_bytes((unsigned char)at[0]), n = 1;
    while (n <= more && ((unsigned char)at[n] & 0xc0) == 0x80) {
      one[n] = at[n];
      n++;
    }
    /* Surrogates and the like are left to who knows them. */
    json_t *character = more >= 0 && n == more + 1 ? json_string(one) : NULL;
    if (character) {
      json_decref(character);
      at += n;
    } else
      *at++ = '?';
  }
}
