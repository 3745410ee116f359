/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories of XFS: short ones in the inode, larger ones in data blocks (the file's first 32 GiB) that hold all the
 * entries.  Leaf, node and free-space blocks lie behind; they are wanted whole but tell nothing new.  A directory
 * block may be several blocks of the filesystem, which need not lie together.
 */
#include "providers/clone/scope-xfs.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
  SHORT_HEADER_BYTES = 2,
  ENTRY_FIXED_BYTES = 8 + 1 + 2, /* inode, name length, tag */
  HEADER_4_BYTES = 16,
  HEADER_5_BYTES = 64,
  CHECKSUM_OFFSET = 4,
  UNUSED_TAG = 0xffff,
  TAIL_BYTES = 8,
  LEAF_ENTRY_BYTES = 8,
  FILE_TYPE_DIRECTORY = 2,
};
#define DATA_END_BYTES (UINT64_C(1) << 35)
#define BLOCK_4_MAGIC UINT32_C(0x58443242) /* "XD2B": the only block, with its index behind the entries */
#define BLOCK_5_MAGIC UINT32_C(0x58444233) /* "XDB3" */
#define DATA_4_MAGIC UINT32_C(0x58443244)  /* "XD2D" */
#define DATA_5_MAGIC UINT32_C(0x58444433)  /* "XDD3" */

struct directory {
  struct xfs_volume *volume;
  uint64_t inode;
  uint8_t *bytes;           /* the directory block being gathered */
  uint64_t number;          /* which it is, from 0 */
  uint32_t gathered_blocks; /* how much of it is there */
};

static int damaged(struct directory *d, const char *what) {
  return scope_damaged(d->volume->scope, "directory %" PRIu64 ": %s", d->inode, what);
}

static enum scope_kind kind_of(const struct xfs_volume *v, uint8_t file_type) {
  if (!v->file_type || file_type == 0)
    return SCOPE_KIND_UNKNOWN;
  return file_type == FILE_TYPE_DIRECTORY ? SCOPE_KIND_DIRECTORY : SCOPE_KIND_OTHER;
}

/* In the inode: count, count of 8-byte numbers, parent, then entries of length, tag, name, type, number. */
static int tell_short(struct directory *d, const struct xfs_fork *fork, uint64_t size_bytes) {
  size_t size = size_bytes < fork->room_bytes ? (size_t)size_bytes : fork->room_bytes;
  if (size < SHORT_HEADER_BYTES)
    return damaged(d, "it is too short");
  const uint8_t *at = fork->bytes, *end = at + size;
  unsigned count = at[0];
  size_t number_bytes = at[1] ? 8 : 4, type_bytes = d->volume->file_type ? 1 : 0;
  if ((size_t)(end - at) < SHORT_HEADER_BYTES + number_bytes)
    return damaged(d, "it is too short");
  at += SHORT_HEADER_BYTES + number_bytes;
  for (unsigned i = 0; i < count; i++) {
    if (end - at < 3 || (size_t)(end - at) < 3 + at[0] + type_bytes + number_bytes || at[0] == 0)
      return damaged(d, "an entry is damaged");
    const uint8_t *name = at + 3, *type = name + at[0], *number = type + type_bytes;
    int r = scope_entry(d->volume->scope, (const char *)name, at[0],
                        number_bytes == 8 ? xfs_be64(number) : xfs_be32(number),
                        kind_of(d->volume, type_bytes ? *type : 0));
    if (r < 0)
      return r;
    at = number + number_bytes;
  }
  return 0;
}

/* Where the entries of a gathered block end: at its end, or where the index of the only block begins. */
static int find_end(struct directory *d, size_t *ret) {
  size_t size = d->volume->directory_block_bytes;
  uint32_t magic = xfs_be32(d->bytes);
  bool v5 = d->volume->v5;
  if (magic == (v5 ? DATA_5_MAGIC : DATA_4_MAGIC)) {
    *ret = size;
    return 0;
  }
  if (magic != (v5 ? BLOCK_5_MAGIC : BLOCK_4_MAGIC))
    return damaged(d, "a block is none");
  uint64_t index = (uint64_t)xfs_be32(d->bytes + size - TAIL_BYTES) * LEAF_ENTRY_BYTES + TAIL_BYTES;
  if (index > size - HEADER_5_BYTES)
    return damaged(d, "the index of a block is damaged");
  *ret = size - (size_t)index;
  return 0;
}

static int tell_block(struct directory *d) {
  struct xfs_volume *v = d->volume;
  size_t end = 0, at = v->v5 ? HEADER_5_BYTES : HEADER_4_BYTES, type_bytes = v->file_type ? 1 : 0;
  int r = find_end(d, &end);
  if (r < 0)
    return r;
  if (!scope_xfs_checksum(v, d->bytes, v->directory_block_bytes, CHECKSUM_OFFSET))
    return damaged(d, "the checksum of a block is wrong");
  while (at + ENTRY_FIXED_BYTES + type_bytes <= end) {
    const uint8_t *entry = d->bytes + at;
    size_t length;
    if (xfs_be16(entry) == UNUSED_TAG) {
      length = xfs_be16(entry + 2);
    } else {
      length = (ENTRY_FIXED_BYTES + entry[8] + type_bytes + 7) / 8 * 8;
      if (entry[8] == 0 || length > end - at)
        return damaged(d, "an entry is damaged");
      const uint8_t *name = entry + 9;
      r = scope_entry(v->scope, (const char *)name, entry[8], xfs_be64(entry),
                      kind_of(v, type_bytes ? name[entry[8]] : 0));
      if (r < 0)
        return r;
    }
    if (length < 8 || length % 8 != 0 || length > end - at)
      return damaged(d, "an entry is damaged");
    at += length;
  }
  return 0;
}

/* Takes one block of the filesystem into the directory block it belongs to, and tells that when it is whole. */
static int gather(struct directory *d, uint64_t logical, uint64_t block) {
  struct xfs_volume *v = d->volume;
  uint32_t blocks = v->directory_block_bytes >> v->block_log;
  if (d->number != logical / blocks || logical % blocks == 0) {
    d->number = logical / blocks;
    d->gathered_blocks = 0;
  }
  if (logical % blocks != d->gathered_blocks)
    return damaged(d, "a block is not whole");
  int r = scope_read(v->scope, block << v->block_log, d->bytes + ((size_t)d->gathered_blocks << v->block_log),
                     v->block_bytes);
  if (r < 0)
    return r;
  return ++d->gathered_blocks == blocks ? tell_block(d) : 0;
}

static int tell_run(void *context, const struct xfs_run *run) {
  struct directory *d = context;
  struct xfs_volume *v = d->volume;
  uint64_t data_end = DATA_END_BYTES >> v->block_log;
  int r = 0;
  scope_want(v->scope, run->block << v->block_log, run->count << v->block_log);
  for (uint64_t i = 0; i < run->count && run->logical + i < data_end && r == 0; i++)
    r = scope_tolerate(v->scope, gather(d, run->logical + i, run->block + i));
  return r;
}

int scope_xfs_directory(struct xfs_volume *v, const struct xfs_inode *inode) {
  struct directory d = {.volume = v, .inode = inode->number, .number = UINT64_MAX};
  if (inode->data.format == XFS_FORMAT_LOCAL)
    return tell_short(&d, &inode->data, inode->size_bytes);
  CLEANUP_FREE uint8_t *bytes = malloc(v->directory_block_bytes);
  if (!bytes)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "directory %" PRIu64 ": out of memory",
                        inode->number);
  d.bytes = bytes;
  return scope_xfs_fork(v, inode->number, &inode->data, tell_run, &d);
}
