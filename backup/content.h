/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checksum of a file's content, built up as it is read or written.  Of a plain file: of its bytes.  Of a sparse
 * file: of three things, the checksum of its data, that of its map (offset and length of each extent of data,
 * little-endian u64, touching extents as one), and its size, so that 2 TiB of holes cost nothing.
 */
#ifndef BACKUP_CONTENT_H
#define BACKUP_CONTENT_H

#include "backup/digest.h"

#include <endian.h>
#include <errno.h>

struct content_hash {
  XXH3_state_t *data, *map;
  uint64_t extent_offset_bytes, extent_bytes; /* the one that may still grow */
};

static inline int content_hash_init(struct content_hash *h) { /* 0 or -ENOMEM; content_hash_done() in any case */
  *h = (struct content_hash){.data = digest_begin(), .map = digest_begin()};
  return h->data && h->map ? 0 : -ENOMEM;
}
static inline void content_hash_done(struct content_hash *h) {
  (void)XXH3_freeState(h->data);
  (void)XXH3_freeState(h->map);
  *h = (struct content_hash){0};
}

/* Once for each file. */
static inline void content_hash_begin(struct content_hash *h) {
  (void)XXH3_128bits_reset(h->data);
  (void)XXH3_128bits_reset(h->map);
  h->extent_offset_bytes = h->extent_bytes = 0;
}

static inline void content_hash_end_extent(struct content_hash *h) {
  uint64_t extent[2] = {htole64(h->extent_offset_bytes), htole64(h->extent_bytes)};
  if (h->extent_bytes > 0)
    (void)XXH3_128bits_update(h->map, extent, sizeof extent);
}

/* Data in ascending order of offset. */
static inline void content_hash_add(struct content_hash *h, uint64_t offset_bytes, const void *data,
                                    size_t length_bytes) {
  (void)XXH3_128bits_update(h->data, data, length_bytes);
  if (offset_bytes != h->extent_offset_bytes + h->extent_bytes) {
    content_hash_end_extent(h);
    h->extent_offset_bytes = offset_bytes;
    h->extent_bytes = 0;
  }
  h->extent_bytes += length_bytes;
}

static inline struct digest content_hash_finish(struct content_hash *h, bool sparse, uint64_t size_bytes) {
  struct digest d = digest_finish(h->data);
  if (!sparse)
    return d;
  content_hash_end_extent(h);
  struct digest m = digest_finish(h->map);
  uint8_t all[2 * DIGEST_BYTES + sizeof size_bytes];
  size_bytes = htole64(size_bytes);
  memcpy(all, d.bytes, DIGEST_BYTES);
  memcpy(all + DIGEST_BYTES, m.bytes, DIGEST_BYTES);
  memcpy(all + 2 * DIGEST_BYTES, &size_bytes, sizeof size_bytes);
  return digest_of(all, sizeof all);
}

#endif
