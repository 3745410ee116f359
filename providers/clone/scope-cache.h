/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was read last of a filesystem.  A walk reads inodes of 256 bytes and directory blocks here and there, from a
 * device opened with O_DIRECT where each read costs a trip; neighbours are wanted soon after.
 */
#ifndef PROVIDERS_CLONE_SCOPE_CACHE_H
#define PROVIDERS_CLONE_SCOPE_CACHE_H

#include "providers/clone/scope.h"

enum { SCOPE_CACHE_LINE_BYTES = 16 * 1024, SCOPE_CACHE_LINES = 512 }; /* 8 MiB */

struct scope_cache {
  uint64_t *tags; /* line number + 1, 0: empty */
  uint8_t *data;
};

int scope_cache_init(struct scope_cache *cache); /* 0 or -ENOMEM */
void scope_cache_done(struct scope_cache *cache);

/* Reads a range that lies within the source, which the caller has checked. 0 or what source->read said. */
int scope_cache_read(struct scope_cache *cache, const struct scope_source *source, uint64_t offset_bytes,
                     void *buffer, size_t length_bytes);

#endif
