/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/names.h"

#include "common/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>

#define ATTRIBUTE_PREFIX "umbra.xattr."
#define DATA_SUFFIX ":$DATA"

/*
 * A byte that is no UTF-8 is U+DC00 and the byte, which no text has, as in Python's surrogateescape (PEP 383): names
 * on Linux are bytes. Such bytes are 0x80 and above: none of them is a slash.
 */
static bool escape_to_wide(char **in, size_t *left, char **out) {
  stream_put16((uint8_t *)*out, (uint16_t)(0xDC00 | (uint8_t) * *in));
  *in += 1, *left -= 1, *out += 2;
  return true;
}

static bool escape_from_wide(char **in, size_t *left, char **out) {
  uint16_t unit = *left >= 2 ? stream_get16((uint8_t *)*in) : 0;
  if (unit < 0xDC80 || unit > 0xDCFF)
    return false;
  **out = (char)unit;
  *in += 2, *left -= 2, *out += 1;
  return true;
}

static int convert(const char *from, const char *to, const void *text, size_t bytes,
                   bool (*escaped)(char **in, size_t *left, char **out), char **ret, size_t *ret_bytes) {
  iconv_t converter = iconv_open(to, from);
  if (converter == (iconv_t)-1)
    return -errno;
  /* UTF-8 takes at most three bytes for two of UTF-16, UTF-16 at most two for each of UTF-8. */
  size_t room = bytes * 2 + 2;
  char *buffer = malloc(room), *out = buffer, *in = (char *)text;
  int r = buffer ? 0 : -ENOMEM;
  while (r == 0 && bytes > 0) {
    size_t left = room - 2 - (size_t)(out - buffer);
    if (iconv(converter, &in, &bytes, &out, &left) == (size_t)-1 && !escaped(&in, &bytes, &out))
      r = -EILSEQ;
  }
  (void)iconv_close(converter);
  if (r < 0) {
    free(buffer);
    return r;
  }
  memset(out, 0, 2);
  *ret = buffer;
  *ret_bytes = (size_t)(out - buffer);
  return 0;
}

int names_to_utf16(const char *text, uint8_t **ret, size_t *ret_bytes) {
  return convert("UTF-8", "UTF-16LE", text, strlen(text), escape_to_wide, (char **)ret, ret_bytes);
}

int names_from_utf16(const uint8_t *name, size_t bytes, char **ret) {
  char *text;
  size_t length;
  int r = convert("UTF-16LE", "UTF-8", name, bytes, escape_from_wide, &text, &length);
  if (r < 0)
    return r;
  if (strlen(text) != length) {
    free(text);
    return -EILSEQ;
  }
  *ret = text;
  return 0;
}

bool names_is_samba_stream(const char *attribute) {
  size_t prefix = strlen(NAMES_SAMBA_STREAM), suffix = strlen(DATA_SUFFIX), length = strlen(attribute);
  /* One that is called as what stands for an attribute is none: anybody could have any attribute made of it. */
  return strncmp(attribute, NAMES_SAMBA_STREAM, prefix) == 0 &&
         strncmp(attribute + prefix, ATTRIBUTE_PREFIX, strlen(ATTRIBUTE_PREFIX)) != 0 && length > prefix + suffix &&
         strcmp(attribute + length - suffix, DATA_SUFFIX) == 0 &&
         !memchr(attribute + prefix, ':', length - prefix - suffix);
}

bool names_is_security(const char *attribute) {
  return strncmp(attribute, "security.", strlen("security.")) == 0 ||
         strncmp(attribute, "system.posix_acl_", strlen("system.posix_acl_")) == 0;
}

/* What no name of a stream may have, and "%", as %XX. */
static char *escape(const char *name) {
  char *escaped = malloc(3 * strlen(name) + 1), *to = escaped;
  for (; escaped && *name; name++)
    if (isalnum((unsigned char)*name) || strchr("._-", *name))
      *to++ = *name;
    else
      to += sprintf(to, "%%%02X", (unsigned char)*name);
  if (escaped)
    *to = '\0';
  return escaped;
}

static int hexadecimal(char c) {
  return isdigit((unsigned char)c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static char *unescape(const char *name, size_t length) {
  char *plain = malloc(length + 1), *to = plain;
  for (size_t i = 0; plain && i < length; i++) {
    int high = i + 2 < length ? hexadecimal(name[i + 1]) : -1, low = i + 2 < length ? hexadecimal(name[i + 2]) : -1;
    int value = high * 16 + low;
    if (name[i] != '%') {
      *to++ = name[i];
      continue;
    }
    if (high < 0 || low < 0 || value == 0) {
      free(plain);
      return NULL;
    }
    *to++ = (char)value;
    i += 2;
  }
  if (plain)
    *to = '\0';
  return plain;
}

int names_stream_of_attribute(const char *attribute, uint8_t **ret, size_t *ret_bytes) {
  CLEANUP_FREE char *escaped = NULL, *name = NULL;
  int r;
  if (names_is_samba_stream(attribute)) {
    r = asprintf(&name, ":%s", attribute + strlen(NAMES_SAMBA_STREAM));
  } else {
    escaped = escape(attribute);
    r = escaped ? asprintf(&name, ":" ATTRIBUTE_PREFIX "%s" DATA_SUFFIX, escaped) : -1;
  }
  if (r < 0) {
    name = NULL;
    return -ENOMEM;
  }
  uint8_t *wide = NULL;
  r = names_to_utf16(name, &wide, ret_bytes);
  if (r < 0)
    return r;
  if (*ret_bytes > STREAM_NAME_BYTES_MAX) {
    free(wide);
    return -ENAMETOOLONG;
  }
  *ret = wide;
  return 0;
}

int names_attribute_of_stream(const uint8_t *name, size_t bytes, char **ret, bool *ret_samba) {
  CLEANUP_FREE char *text = NULL;
  int r = names_from_utf16(name, bytes, &text);
  if (r < 0)
    return r;
  size_t length = strlen(text), suffix = strlen(DATA_SUFFIX), prefix = strlen(":" ATTRIBUTE_PREFIX);
  /* ":NAME:$DATA"; no other type of stream has a name. */
  if (length < suffix + 2 || text[0] != ':' || strcmp(text + length - suffix, DATA_SUFFIX) != 0 ||
      memchr(text + 1, ':', length - suffix - 1) || memchr(text, '/', length))
    return -EINVAL;
  CLEANUP_FREE char *attribute = NULL;
  *ret_samba = strncmp(text, ":" ATTRIBUTE_PREFIX, prefix) != 0;
  if (!*ret_samba)
    attribute = unescape(text + prefix, length - prefix - suffix);
  else if (asprintf(&attribute, NAMES_SAMBA_STREAM "%s", text + 1) < 0) {
    attribute = NULL;
    return -ENOMEM;
  }
  if (!attribute || !*attribute)
    return -EINVAL;
  *ret = take_pointer(attribute);
  return 0;
}
