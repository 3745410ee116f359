/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inode numbers that were seen.  Filesystems give neighbouring numbers to neighbours, so one entry of 16 bytes holds
 * up to 64 of them; XFS numbers are spread over 64 bits, which rules out a plain bitmap.
 */
#ifndef PROVIDERS_CLONE_SCOPE_INODE_SET_H
#define PROVIDERS_CLONE_SCOPE_INODE_SET_H

#include <stddef.h>
#include <stdint.h>

struct scope_inode_chunk;
struct scope_inode_set {
  struct scope_inode_chunk *chunks;
  size_t capacity, count; /* capacity: 0 or a power of two */
};

void scope_inode_set_done(struct scope_inode_set *set); /* a zeroed set is empty and needs no init */

/* 1 if it is new, 0 if it was there, -ENOMEM, -EOVERFLOW past SCOPE_VISITED_CHUNKS_MAX. */
int scope_inode_set_add(struct scope_inode_set *set, uint64_t inode);

#endif
