/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/attributes.h"

#include "common/fd.h"
#include "stream/format.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/xattr.h>

enum {
  EA_HEAD_BYTES = 8, /* where the next one is, flags, lengths of name and value */
  EA_NAME_BYTES_MAX = 254,
};

/* What NTFS takes: printable ASCII without the characters that its own interface refuses. */
static bool name_fits(const char *name) {
  size_t length = strlen(name);
  for (const char *c = name; *c; c++)
    if (*c < 0x20 || *c > 0x7e || strchr("\"*+,/:;<=>?[\\]|", *c))
      return false;
  return length > 0 && length <= EA_NAME_BYTES_MAX;
}

bool ea_list_add(struct ea_list *list, const char *name, const void *value, size_t value_bytes) {
  size_t at = (list->length + 3) / 4 * 4, length = EA_HEAD_BYTES + strlen(name) + 1 + value_bytes;
  if (!name_fits(name) || value_bytes > UINT16_MAX || at + length > ATTRIBUTES_EA_BYTES_MAX)
    return false;
  uint8_t *larger = realloc(list->bytes, at + length);
  if (!larger)
    return false;
  memset(larger + list->length, 0, at - list->length);
  if (list->length > 0)
    stream_put32(larger + list->last, (uint32_t)(at - list->last));
  stream_put32(larger + at, 0);
  larger[at + 4] = 0;
  larger[at + 5] = (uint8_t)strlen(name);
  stream_put16(larger + at + 6, (uint16_t)value_bytes);
  memcpy(larger + at + EA_HEAD_BYTES, name, strlen(name) + 1);
  if (value_bytes > 0)
    memcpy(larger + at + EA_HEAD_BYTES + strlen(name) + 1, value, value_bytes);
  list->bytes = larger;
  list->last = at;
  list->length = at + length;
  return true;
}

int ea_list_each(const uint8_t *list, size_t bytes, ea_visit visit, void *userdata) {
  for (;;) {
    if (bytes < EA_HEAD_BYTES)
      return -EBADMSG;
    size_t next = stream_get32(list), name_bytes = list[5], value_bytes = stream_get16(list + 6);
    size_t length = EA_HEAD_BYTES + name_bytes + 1 + value_bytes;
    const char *name = (const char *)list + EA_HEAD_BYTES;
    if (length > bytes || name_bytes == 0 || strnlen(name, name_bytes + 1) != name_bytes ||
        (next != 0 && (next < length || next > bytes)))
      return -EBADMSG;
    int r = visit(userdata, name, list + EA_HEAD_BYTES + name_bytes + 1, value_bytes);
    if (r < 0 || next == 0)
      return r;
    list += next;
    bytes -= next;
  }
}

/* Through /proc: a descriptor of O_PATH has no attributes of its own, and what is named there is not followed
 * further. */
int attributes_list(int fd, char **ret, size_t *ret_bytes) {
  char path[FD_PROC_PATH_BYTES], *names = malloc(ATTRIBUTES_LIST_BYTES_MAX);
  ssize_t length = names ? listxattr(fd_proc_path(fd, path), names, ATTRIBUTES_LIST_BYTES_MAX) : -1;
  if (length < 0 && names && errno == ENOTSUP)
    length = 0;
  if (length < 0) {
    int r = names ? -errno : -ENOMEM;
    free(names);
    return r;
  }
  *ret = names;
  *ret_bytes = (size_t)length;
  return 0;
}

int attributes_get(int fd, const char *name, uint8_t **ret, size_t *ret_bytes) {
  char path[FD_PROC_PATH_BYTES];
  uint8_t *value = malloc(ATTRIBUTES_VALUE_BYTES_MAX + 1);
  ssize_t length = value ? getxattr(fd_proc_path(fd, path), name, value, ATTRIBUTES_VALUE_BYTES_MAX) : -1;
  if (length < 0) {
    int r = value ? -errno : -ENOMEM;
    free(value);
    return r;
  }
  value[length] = 0;
  *ret = value;
  *ret_bytes = (size_t)length;
  return 0;
}

int attributes_set(int fd, const char *name, const void *value, size_t value_bytes) {
  char path[FD_PROC_PATH_BYTES];
  return setxattr(fd_proc_path(fd, path), name, value, value_bytes, 0) < 0 ? -errno : 0;
}
