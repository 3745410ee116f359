/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a fork of an XFS inode lies: a list of extents in the inode, or a B+tree whose root is there.
 *
 * A node's range of the file narrows with every level and records must rise within it, so any bytes lead to an end.
 */
#include "providers/clone/scope-xfs.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
  EXTENT_BYTES = 16,
  KEY_BYTES = 8,
  POINTER_BYTES = 8,
  ROOT_HEADER_BYTES = 4,
  NODE_4_HEADER_BYTES = 24,
  NODE_5_HEADER_BYTES = 72,
  NODE_CHECKSUM_OFFSET = 64,
  LEVELS_MAX = 9,
};
#define NODE_4_MAGIC UINT32_C(0x424d4150) /* "BMAP" */
#define NODE_5_MAGIC UINT32_C(0x424d4133) /* "BMA3" */
#define LOGICAL_END (UINT64_C(1) << 54)

struct tree {
  struct xfs_volume *volume;
  uint64_t inode;
  xfs_run_fn run;
  void *context;
  uint64_t nodes;
};

struct range {
  uint64_t first, end;
};

static int damaged(struct tree *t, const char *what) {
  return scope_damaged(t->volume->scope, "inode %" PRIu64 ": %s", t->inode, what);
}

/* One record: 1 bit unwritten, 54 bits place in the file, 52 bits address, 21 bits count. */
static int tell_extents(struct tree *t, const uint8_t *records, uint64_t count, struct range range) {
  for (uint64_t i = 0; i < count; i++, records += EXTENT_BYTES) {
    uint64_t high = xfs_be64(records), low = xfs_be64(records + 8);
    struct xfs_run run = {
        .logical = (high & ~(UINT64_C(1) << 63)) >> 9,
        .count = low & 0x1fffff,
        .unwritten = high >> 63,
    };
    uint64_t address = (high & 0x1ff) << 43 | low >> 21;
    if (run.count == 0 || run.logical < range.first || run.count > range.end - run.logical)
      return damaged(t, "an extent is out of order");
    if (!scope_xfs_block(t->volume, address, run.count, &run.block))
      return damaged(t, "an extent is outside the filesystem");
    range.first = run.logical + run.count;
    int r = t->run(t->context, &run);
    if (r < 0)
      return r;
  }
  return 0;
}

static int walk_node(struct tree *t, uint64_t address, unsigned level, struct range range);

/* The children of a node: keys from keys on, addresses from pointers on. */
static int walk_children(struct tree *t, const uint8_t *keys, const uint8_t *pointers, unsigned count, unsigned level,
                         struct range range) {
  for (unsigned i = 0; i < count; i++) {
    struct range part = {.first = xfs_be64(keys + (size_t)i * KEY_BYTES), .end = range.end};
    if (i + 1 < count)
      part.end = xfs_be64(keys + (size_t)(i + 1) * KEY_BYTES);
    if (part.first < range.first || part.first >= part.end || part.end > range.end)
      return damaged(t, "the extent tree is out of order");
    /* In a live tree one leaf may be torn while its neighbours are not. */
    int r = scope_tolerate(t->volume->scope,
                           walk_node(t, xfs_be64(pointers + (size_t)i * POINTER_BYTES), level - 1, part));
    if (r < 0)
      return r;
    range.first = part.end;
  }
  return 0;
}

static int walk_node(struct tree *t, uint64_t address, unsigned level, struct range range) {
  struct xfs_volume *v = t->volume;
  uint64_t block = 0;
  if (!scope_xfs_block(v, address, 1, &block))
    return damaged(t, "the extent tree leads outside the filesystem");
  if (++t->nodes > v->blocks)
    return damaged(t, "the extent tree has more nodes than the filesystem has blocks");
  CLEANUP_FREE uint8_t *node = malloc(v->block_bytes);
  if (!node)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "inode %" PRIu64 ": out of memory", t->inode);
  scope_want(v->scope, block << v->block_log, v->block_bytes);
  int r = scope_read(v->scope, block << v->block_log, node, v->block_bytes);
  if (r < 0)
    return r;
  size_t header = v->v5 ? NODE_5_HEADER_BYTES : NODE_4_HEADER_BYTES;
  /* Records of a leaf are as large as a key and a pointer. */
  size_t room = (v->block_bytes - header) / EXTENT_BYTES;
  unsigned count = xfs_be16(node + 6);
  if (xfs_be32(node) != (v->v5 ? NODE_5_MAGIC : NODE_4_MAGIC) || xfs_be16(node + 4) != level || count > room ||
      (count == 0 && level > 0))
    return damaged(t, "a node of the extent tree is damaged");
  if (!scope_xfs_checksum(v, node, v->block_bytes, NODE_CHECKSUM_OFFSET))
    return damaged(t, "the checksum of a node of the extent tree is wrong");
  if (level == 0)
    return tell_extents(t, node + header, count, range);
  return walk_children(t, node + header, node + header + room * KEY_BYTES, count, level, range);
}

int scope_xfs_fork(struct xfs_volume *v, uint64_t number, const struct xfs_fork *fork, xfs_run_fn run,
                   void *context) {
  struct tree t = {.volume = v, .inode = number, .run = run, .context = context};
  const struct range all = {.first = 0, .end = LOGICAL_END};
  if (fork->format == XFS_FORMAT_EXTENTS)
    return tell_extents(&t, fork->bytes, fork->extents, all);
  if (fork->format != XFS_FORMAT_BTREE)
    return 0;
  if (fork->room_bytes < ROOT_HEADER_BYTES + KEY_BYTES + POINTER_BYTES)
    return damaged(&t, "no room for the extent tree");
  size_t room = (fork->room_bytes - ROOT_HEADER_BYTES) / (KEY_BYTES + POINTER_BYTES);
  unsigned level = xfs_be16(fork->bytes), count = xfs_be16(fork->bytes + 2);
  if (level == 0 || level > LEVELS_MAX || count == 0 || count > room)
    return damaged(&t, "the root of the extent tree is damaged");
  const uint8_t *keys = fork->bytes + ROOT_HEADER_BYTES;
  return walk_children(&t, keys, keys + room * KEY_BYTES, count, level, all);
}
