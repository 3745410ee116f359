/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a stream header, [MS-BKUP] 2.2: 20 bytes little-endian, the name in UTF-16LE without a NUL, no
 * padding.
 */
#ifndef STREAM_FORMAT_H
#define STREAM_FORMAT_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum stream_id {
  STREAM_DATA = 1,
  STREAM_EA_DATA = 2,
  STREAM_SECURITY_DATA = 3,
  STREAM_ALTERNATE_DATA = 4,
  STREAM_LINK = 5,
  STREAM_PROPERTY_DATA = 6,
  STREAM_OBJECT_ID = 7,
  STREAM_REPARSE_DATA = 8,
  STREAM_SPARSE_BLOCK = 9,
  STREAM_TXFS_DATA = 10,
  STREAM_GHOSTED_FILE_EXTENTS = 11,
};

/* What may be kept in an attribute, which any owner of a file can write: nothing that says whose it is, what it is,
 * or where. */
static inline bool stream_id_is_kept(uint32_t id) {
  return id == STREAM_PROPERTY_DATA || id == STREAM_OBJECT_ID || id >= STREAM_TXFS_DATA;
}

enum {
  STREAM_CONTAINS_SECURITY = 2,
  STREAM_SPARSE = 8,
};

enum {
  STREAM_HEADER_BYTES = 20,
  STREAM_NAME_BYTES_MAX = 512,      /* 255 characters of NTFS and ":…" */
  STREAM_OFFSET_BYTES = 8,          /* before the data of a SPARSE_BLOCK */
  STREAM_MEMORY_BYTES_MAX = 131072, /* what is not the file's data is held in memory */
  STREAM_OBJECT_ID_BYTES_MAX = 64,
};

struct stream_header {
  uint32_t id, attributes;
  uint64_t size_bytes; /* checked: not above INT64_MAX */
  uint32_t name_bytes;
};

static inline void stream_put16(uint8_t *at, uint16_t value) {
  value = htole16(value);
  memcpy(at, &value, sizeof value);
}
static inline void stream_put32(uint8_t *at, uint32_t value) {
  value = htole32(value);
  memcpy(at, &value, sizeof value);
}
static inline void stream_put64(uint8_t *at, uint64_t value) {
  value = htole64(value);
  memcpy(at, &value, sizeof value);
}
static inline uint16_t stream_get16(const uint8_t *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return le16toh(value);
}
static inline uint32_t stream_get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return le32toh(value);
}
static inline uint64_t stream_get64(const uint8_t *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return le64toh(value);
}

static inline void stream_header_put(const struct stream_header *h, uint8_t at[STREAM_HEADER_BYTES]) {
  stream_put32(at, h->id);
  stream_put32(at + 4, h->attributes);
  stream_put64(at + 8, h->size_bytes);
  stream_put32(at + 16, h->name_bytes);
}

static inline struct stream_header stream_header_get(const uint8_t at[STREAM_HEADER_BYTES]) {
  return (struct stream_header){.id = stream_get32(at),
                                .attributes = stream_get32(at + 4),
                                .size_bytes = stream_get64(at + 8),
                                .name_bytes = stream_get32(at + 16)};
}

#endif
