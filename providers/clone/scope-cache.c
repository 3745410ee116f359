/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/clone/scope-cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int scope_cache_init(struct scope_cache *cache) {
  cache->tags = calloc(SCOPE_CACHE_LINES, sizeof *cache->tags);
  cache->data = malloc((size_t)SCOPE_CACHE_LINES * SCOPE_CACHE_LINE_BYTES);
  return cache->tags && cache->data ? 0 : -ENOMEM;
}

void scope_cache_done(struct scope_cache *cache) {
  free(cache->tags);
  free(cache->data);
  *cache = (struct scope_cache){0};
}

/* The line's bytes, from the source if they are not here. */
static int load(struct scope_cache *cache, const struct scope_source *source, uint64_t line, const uint8_t **ret) {
  /* Fibonacci hashing: inode tables lie a power of two apart and would share a slot. */
  size_t slot = (size_t)((line * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % SCOPE_CACHE_LINES;
  uint8_t *data = cache->data + slot * SCOPE_CACHE_LINE_BYTES;
  if (cache->tags[slot] != line + 1) {
    uint64_t offset = line * SCOPE_CACHE_LINE_BYTES, left = source->size_bytes - offset;
    cache->tags[slot] = 0;
    int r = source->read(source->context, offset, data,
                         left < SCOPE_CACHE_LINE_BYTES ? (size_t)left : (size_t)SCOPE_CACHE_LINE_BYTES);
    if (r < 0)
      return r;
    cache->tags[slot] = line + 1;
  }
  *ret = data;
  return 0;
}

int scope_cache_read(struct scope_cache *cache, const struct scope_source *source, uint64_t offset_bytes,
                     void *buffer, size_t length_bytes) {
  uint8_t *to = buffer;
  while (length_bytes > 0) {
    size_t skip = offset_bytes % SCOPE_CACHE_LINE_BYTES, part = SCOPE_CACHE_LINE_BYTES - skip;
    if (part > length_bytes)
      part = length_bytes;
    const uint8_t *data = NULL;
    if (load(cache, source, offset_bytes / SCOPE_CACHE_LINE_BYTES, &data) == 0) {
      memcpy(to, data + skip, part);
    } else {
      /* A neighbour that nobody asked for may be what cannot be read. */
      int r = source->read(source->context, offset_bytes, to, part);
      if (r < 0)
        return r;
    }
    to += part;
    offset_bytes += part;
    length_bytes -= part;
  }
  return 0;
}
