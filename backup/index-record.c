/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes of one index record (docs/BACKUP-FORMAT.md).  Reading trusts nothing: every length is checked against what is
 * there, every path for its shape and its place in tree order, every number for its range, and nothing may be left
 * over.
 */
#include "backup/index-record.h"

#include <errno.h>
#include <inttypes.h>

enum { FLAG_SPARSE = 1, MODE_MAX = 07777, NS_MAX = 999999999 };

size_t index_number_encode(uint64_t value, uint8_t *to) {
  size_t n = 0;
  while (value >= 0x80) {
    to[n++] = (uint8_t)(value | 0x80);
    value >>= 7;
  }
  to[n++] = (uint8_t)value;
  return n;
}

size_t index_number_decode(const uint8_t *from, size_t length_bytes, uint64_t *ret) {
  uint64_t value = 0;
  for (size_t n = 0; n < length_bytes && n < INDEX_NUMBER_BYTES_MAX; n++) {
    if (n == INDEX_NUMBER_BYTES_MAX - 1 && from[n] > 1)
      return 0;
    value |= (uint64_t)(from[n] & 0x7f) << (7 * n);
    if (from[n] < 0x80) {
      if (n > 0 && from[n] == 0)
        return 0;
      *ret = value;
      return n + 1;
    }
  }
  return 0;
}

static size_t text_encode(const char *text, size_t length_bytes, uint8_t *to) {
  size_t n = index_number_encode(length_bytes, to);
  memcpy(to + n, text, length_bytes);
  return n + length_bytes;
}

static size_t time_encode(struct timespec t, uint8_t *to) {
  size_t n = index_number_encode(index_zigzag(t.tv_sec), to);
  return n + index_number_encode((uint64_t)t.tv_nsec, to + n);
}

size_t index_record_encode(const struct index_record *r, const char *previous, uint8_t *to) {
  size_t shared_bytes = 0, n = 0;
  while (r->path[shared_bytes] && r->path[shared_bytes] == previous[shared_bytes])
    shared_bytes++;
  to[n++] = (uint8_t)r->kind;
  n += index_number_encode(shared_bytes, to + n);
  n += text_encode(r->path + shared_bytes, strlen(r->path + shared_bytes), to + n);
  if (r->kind == INDEX_DELETED)
    return n;
  n += index_number_encode(r->mode, to + n);
  n += index_number_encode(r->uid, to + n);
  n += index_number_encode(r->gid, to + n);
  n += index_number_encode(r->size_bytes, to + n);
  n += time_encode(r->modified, to + n);
  n += time_encode(r->changed, to + n);
  n += index_number_encode(r->inode, to + n);
  n += index_number_encode(r->links, to + n);
  n += index_number_encode(r->position, to + n);
  n += index_number_encode(r->offset_bytes, to + n);
  memcpy(to + n, r->metadata.bytes, DIGEST_BYTES);
  n += DIGEST_BYTES;
  switch (r->kind) {
  case INDEX_FILE:
    to[n++] = r->sparse ? FLAG_SPARSE : 0;
    memcpy(to + n, r->content.bytes, DIGEST_BYTES);
    n += DIGEST_BYTES;
    break;
  case INDEX_SYMLINK:
  case INDEX_HARD_LINK:
    n += text_encode(r->target, strlen(r->target), to + n);
    break;
  case INDEX_CHARACTER:
  case INDEX_BLOCK:
    n += index_number_encode(r->device_major, to + n);
    n += index_number_encode(r->device_minor, to + n);
    break;
  default:
    break;
  }
  return n;
}

struct cursor {
  const uint8_t *at;
  size_t left_bytes;
};

static bool take_number(struct cursor *c, uint64_t max, uint64_t *ret) {
  size_t n = index_number_decode(c->at, c->left_bytes, ret);
  c->at += n;
  c->left_bytes -= n;
  return n > 0 && *ret <= max;
}

static bool take_u32(struct cursor *c, uint32_t max, uint32_t *ret) {
  uint64_t value = 0;
  bool fine = take_number(c, max, &value);
  *ret = (uint32_t)value;
  return fine;
}

static bool take_bytes(struct cursor *c, void *to, size_t length_bytes) {
  if (c->left_bytes < length_bytes)
    return false;
  memcpy(to, c->at, length_bytes);
  c->at += length_bytes;
  c->left_bytes -= length_bytes;
  return true;
}

static bool take_time(struct cursor *c, struct timespec *ret) {
  uint64_t seconds = 0, ns = 0;
  if (!take_number(c, UINT64_MAX, &seconds) || !take_number(c, NS_MAX, &ns))
    return false;
  ret->tv_sec = index_unzigzag(seconds);
  ret->tv_nsec = (long)ns;
  return true;
}

/* Text of at most max bytes without NUL, behind which a NUL is put. */
static bool take_text(struct cursor *c, char *to, size_t max_bytes) {
  uint64_t length_bytes = 0;
  if (!take_number(c, max_bytes, &length_bytes) || !take_bytes(c, to, (size_t)length_bytes))
    return false;
  to[length_bytes] = '\0';
  return memchr(to, '\0', (size_t)length_bytes) == NULL;
}

static bool kind_known(uint8_t kind) { return kind != '\0' && strchr("dflhpcbx", kind) != NULL; }

static bool take_path(struct cursor *c, struct index_record *r, bool first) {
  char path[TREE_PATH_BYTES_MAX + 1];
  uint64_t shared_bytes = 0;
  if (!take_number(c, strlen(r->path), &shared_bytes))
    return false;
  memcpy(path, r->path, (size_t)shared_bytes);
  if (!take_text(c, path + shared_bytes, TREE_PATH_BYTES_MAX - (size_t)shared_bytes))
    return false;
  if (!tree_path_valid(path, strlen(path)))
    return false;
  if (path[0] == '\0' ? !first : tree_path_compare(r->path, path) >= 0)
    return false;
  memcpy(r->path, path, strlen(path) + 1);
  return true;
}

static bool take_common(struct cursor *c, struct index_record *r) {
  return take_u32(c, MODE_MAX, &r->mode) && take_u32(c, UINT32_MAX, &r->uid) && take_u32(c, UINT32_MAX, &r->gid) &&
         take_number(c, INT64_MAX, &r->size_bytes) && take_time(c, &r->modified) && take_time(c, &r->changed) &&
         take_number(c, UINT64_MAX, &r->inode) && take_number(c, UINT64_MAX, &r->links) &&
         take_u32(c, INDEX_CHAIN_MAX, &r->position) && take_number(c, INT64_MAX, &r->offset_bytes) &&
         take_bytes(c, r->metadata.bytes, DIGEST_BYTES);
}

static bool take_special(struct cursor *c, struct index_record *r) {
  uint8_t flags = 0;
  switch (r->kind) {
  case INDEX_FILE:
    if (!take_bytes(c, &flags, 1) || flags > FLAG_SPARSE || !take_bytes(c, r->content.bytes, DIGEST_BYTES))
      return false;
    r->sparse = flags & FLAG_SPARSE;
    return r->path[0] != '\0';
  case INDEX_SYMLINK:
    return take_text(c, r->target, TREE_PATH_BYTES_MAX) && r->target[0] != '\0' && r->path[0] != '\0';
  case INDEX_HARD_LINK: /* only backwards, so that the file is there when the link is made */
    return take_text(c, r->target, TREE_PATH_BYTES_MAX) && r->target[0] != '\0' && r->path[0] != '\0' &&
           tree_path_valid(r->target, strlen(r->target)) && tree_path_compare(r->target, r->path) < 0;
  case INDEX_CHARACTER:
  case INDEX_BLOCK:
    return take_u32(c, UINT32_MAX, &r->device_major) && take_u32(c, UINT32_MAX, &r->device_minor) &&
           r->path[0] != '\0';
  case INDEX_FIFO:
    return r->path[0] != '\0';
  default:
    return true;
  }
}

int index_record_decode(struct index_record *r, const uint8_t *from, size_t length_bytes, struct umbra_error *err) {
  struct cursor c = {.at = from, .left_bytes = length_bytes};
  uint8_t kind = 0;
  bool first = r->kind == 0;
  if (!take_bytes(&c, &kind, 1) || !kind_known(kind))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "a record after '%s' has no known kind", r->path);
  if (!take_path(&c, r, first))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "a record's path after '%s' is not allowed there", r->path);
  r->kind = kind;
  r->target[0] = '\0';
  r->sparse = false;
  r->device_major = r->device_minor = 0;
  memset(&r->content, 0, sizeof r->content);
  bool fine = r->kind == INDEX_DELETED || (take_common(&c, r) && take_special(&c, r));
  if (!fine || c.left_bytes > 0)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "the record of '%s' is damaged", r->path);
  return 0;
}
