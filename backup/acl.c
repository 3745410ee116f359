/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's form is a version (u32 = 2) and entries of tag (u16), permissions (u16) and id (u32), all
 * little-endian, in the order owner, users, group, groups, mask, others (linux/posix_acl_xattr.h).
 */
#include "backup/acl.h"

#include "common/cleanup.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

enum { HEADER_BYTES = 4, ENTRY_BYTES = 8, VERSION = 2 };
#define NO_ID UINT32_MAX

struct acl_entry {
  uint16_t tag, permissions;
  uint32_t id;
};

static const struct {
  uint16_t kernel;
  int archive;
  bool has_id;
} tags[] = {
    {ACL_USER_OBJ, ARCHIVE_ENTRY_ACL_USER_OBJ, false},   {ACL_USER, ARCHIVE_ENTRY_ACL_USER, true},
    {ACL_GROUP_OBJ, ARCHIVE_ENTRY_ACL_GROUP_OBJ, false}, {ACL_GROUP, ARCHIVE_ENTRY_ACL_GROUP, true},
    {ACL_MASK, ARCHIVE_ENTRY_ACL_MASK, false},           {ACL_OTHER, ARCHIVE_ENTRY_ACL_OTHER, false},
};
enum { TAGS = sizeof tags / sizeof *tags };

static bool well_formed(const uint8_t *bytes, size_t value_bytes) {
  uint32_t version;
  if (value_bytes < HEADER_BYTES || (value_bytes - HEADER_BYTES) % ENTRY_BYTES != 0 ||
      (value_bytes - HEADER_BYTES) / ENTRY_BYTES > ACL_ENTRIES_MAX)
    return false;
  memcpy(&version, bytes, sizeof version);
  return le32toh(version) == VERSION;
}

static size_t entry_count(size_t value_bytes) { return (value_bytes - HEADER_BYTES) / ENTRY_BYTES; }

static struct acl_entry get(const uint8_t *bytes, size_t index) {
  struct acl_entry e;
  memcpy(&e, bytes + HEADER_BYTES + index * ENTRY_BYTES, sizeof e);
  return (struct acl_entry){le16toh(e.tag), le16toh(e.permissions), le32toh(e.id)};
}

static void put(uint8_t *bytes, size_t index, struct acl_entry e) {
  e = (struct acl_entry){htole16(e.tag), htole16(e.permissions), htole32(e.id)};
  memcpy(bytes + HEADER_BYTES + index * ENTRY_BYTES, &e, sizeof e);
}

/* Tags are numbered in the order the kernel wants. */
static int compare(const void *a, const void *b) {
  struct acl_entry x, y;
  memcpy(&x, a, sizeof x);
  memcpy(&y, b, sizeof y);
  uint16_t x_tag = le16toh(x.tag), y_tag = le16toh(y.tag);
  uint32_t x_id = le32toh(x.id), y_id = le32toh(y.id);
  if (x_tag != y_tag)
    return x_tag < y_tag ? -1 : 1;
  return x_id < y_id ? -1 : x_id > y_id;
}

void acl_sort(void *value, size_t value_bytes) {
  uint8_t *bytes = value;
  if (well_formed(bytes, value_bytes))
    qsort(bytes + HEADER_BYTES, entry_count(value_bytes), ENTRY_BYTES, compare);
}

int acl_mask(const void *value, size_t value_bytes) {
  if (!well_formed(value, value_bytes))
    return -1;
  for (size_t i = 0; i < entry_count(value_bytes); i++) {
    struct acl_entry e = get(value, i);
    if (e.tag == ACL_MASK)
      return e.permissions & 7;
  }
  return -1;
}

bool acl_portable(const void *value, size_t value_bytes) {
  if (!well_formed(value, value_bytes))
    return false;
  for (size_t i = 0; i < entry_count(value_bytes); i++) {
    struct acl_entry e = get(value, i);
    if ((e.tag == ACL_USER || e.tag == ACL_GROUP) && e.id > INT_MAX)
      return false;
  }
  return true;
}

int acl_to_entry(const void *value, size_t value_bytes, int type, struct archive_entry *entry) {
  if (!well_formed(value, value_bytes))
    return -EINVAL;
  for (size_t i = 0; i < entry_count(value_bytes); i++) {
    struct acl_entry e = get(value, i);
    size_t t = 0;
    while (t < TAGS && tags[t].kernel != e.tag)
      t++;
    if (t == TAGS)
      return -EINVAL;
    if (archive_entry_acl_add_entry(entry, type, e.permissions & 7, tags[t].archive, tags[t].has_id ? (int)e.id : -1,
                                    NULL) != 0)
      return -ENOMEM;
  }
  return 0;
}

int acl_from_entry(struct archive_entry *entry, int type, void **ret, size_t *ret_bytes) {
  int count = archive_entry_acl_reset(entry, type);
  if (count <= 0)
    return 0;
  if (count > ACL_ENTRIES_MAX)
    return -EBADMSG;
  CLEANUP_FREE uint8_t *bytes = calloc(1, HEADER_BYTES + (size_t)count * ENTRY_BYTES);
  if (!bytes)
    return -ENOMEM;
  uint32_t version = htole32(VERSION);
  memcpy(bytes, &version, sizeof version);
  size_t n = 0;
  int entry_type = 0, permissions = 0, tag = 0, id = 0;
  const char *name = NULL;
  while (archive_entry_acl_next(entry, type, &entry_type, &permissions, &tag, &id, &name) == 0) {
    size_t t = 0;
    while (t < TAGS && tags[t].archive != tag)
      t++;
    if (t == TAGS || n == (size_t)count)
      return -EBADMSG;
    put(bytes, n++,
        (struct acl_entry){tags[t].kernel, (uint16_t)(permissions & 7), tags[t].has_id ? (uint32_t)id : NO_ID});
  }
  *ret_bytes = HEADER_BYTES + n * ENTRY_BYTES;
  acl_sort(bytes, *ret_bytes);
  *ret = take_pointer(bytes);
  return 1;
}
