/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes and limits of the copy-on-write engine, and the arithmetic of chunks.
 */
#ifndef COW_GEOMETRY_H
#define COW_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

enum {
  COW_SECTOR_BYTES = 512,
  COW_CHUNK_BYTES_MIN = 4096,
  COW_CHUNK_BYTES_MAX = 65536,
  COW_CHUNK_BYTES_DEFAULT = 16384,
  COW_SHADOWS_MAX = 512, /* of one volume, whatever their state */
  COW_REQUEST_BYTES_MAX = 1 << 20,
  COW_BUFFER_ALIGNMENT = 4096, /* of every buffer that is read from or written to origin or storage */
};
#define COW_NUMBER_MAX ((UINT32_C(1) << 24) - 1)
#define COW_CHUNKS_MAX (UINT64_C(1) << 40)
#define COW_SLOTS_MAX UINT32_C(0xfffffff0)
#define COW_SLOT_NONE UINT32_MAX

struct cow_geometry {
  uint64_t volume_bytes; /* a multiple of 512 */
  uint32_t chunk_bytes;
};

static inline uint64_t cow_chunk_count(const struct cow_geometry *g) {
  return (g->volume_bytes + g->chunk_bytes - 1) / g->chunk_bytes;
}
/* The last chunk may be short. */
static inline uint32_t cow_chunk_length(const struct cow_geometry *g, uint64_t chunk) {
  uint64_t left = g->volume_bytes - chunk * g->chunk_bytes;
  return left < g->chunk_bytes ? (uint32_t)left : g->chunk_bytes;
}
static inline bool cow_geometry_valid(const struct cow_geometry *g) {
  uint32_t b = g->chunk_bytes;
  return b >= COW_CHUNK_BYTES_MIN && b <= COW_CHUNK_BYTES_MAX && (b & (b - 1)) == 0 && g->volume_bytes > 0 &&
         g->volume_bytes % COW_SECTOR_BYTES == 0 && cow_chunk_count(g) <= COW_CHUNKS_MAX;
}

/* An entry's key: chunk and epoch in one word, so that it appears by one store. 0: none (epochs begin with 1). */
static inline uint64_t cow_key(uint64_t chunk, uint32_t epoch) { return chunk << 24 | epoch; }
static inline uint64_t cow_key_chunk(uint64_t key) { return key >> 24; }
static inline uint32_t cow_key_epoch(uint64_t key) { return (uint32_t)(key & COW_NUMBER_MAX); }

#endif
