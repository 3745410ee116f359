/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An inode of XFS.  Its number says where it lies: group, block and place in the block.  The kernel reads and checks
 * the whole cluster around it (xfs_inode_buf_verify() wants the magic number of every inode in it), so all of that is
 * wanted.
 */
#include "providers/clone/scope-xfs.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

enum {
  MAGIC = 0x494e, /* "IN" */
  CORE_2_BYTES = 100,
  CORE_3_BYTES = 176,
  CHECKSUM_OFFSET = 100,
  FLAG_REALTIME = 0x0001,
  EXTENT_BYTES = 16,
};
#define FLAG2_BIG_COUNTS UINT64_C(0x10)

static int damaged(struct xfs_volume *v, uint64_t number, const char *what) {
  return scope_damaged(v->scope, "inode %" PRIu64 ": %s", number, what);
}

/* Marks the cluster; *ret_offset_bytes: where the inode is. */
static int locate(struct xfs_volume *v, uint64_t number, uint64_t *ret_offset_bytes) {
  uint64_t address = number >> v->inodes_a_block_log, place = number & ((1u << v->inodes_a_block_log) - 1), block = 0;
  if (number == 0 || !scope_xfs_block(v, address, 1, &block))
    return damaged(v, number, "there is no such number");
  uint64_t cluster = address;
  if (v->cluster_blocks > 1)
    cluster -= (address & v->inode_alignment_mask) % v->cluster_blocks;
  uint64_t cluster_block = 0;
  if (!scope_xfs_block(v, cluster, v->cluster_blocks, &cluster_block))
    return damaged(v, number, "its cluster is outside the filesystem");
  scope_want(v->scope, cluster_block << v->block_log, (uint64_t)v->cluster_blocks << v->block_log);
  *ret_offset_bytes = (block << v->block_log) + (place << v->inode_log);
  return 0;
}

static int set_fork(struct xfs_volume *v, uint64_t number, struct xfs_fork *fork, uint8_t format) {
  if (format > XFS_FORMAT_BTREE)
    return damaged(v, number, "a fork has an unknown format");
  fork->format = (enum xfs_format)format;
  if (fork->format == XFS_FORMAT_EXTENTS && fork->extents > fork->room_bytes / EXTENT_BYTES)
    return damaged(v, number, "more extents than have room");
  return 0;
}

static int set_forks(struct xfs_volume *v, struct xfs_inode *inode, size_t core_bytes) {
  const uint8_t *b = inode->bytes;
  bool big_counts = core_bytes == CORE_3_BYTES && (xfs_be64(b + 120) & FLAG2_BIG_COUNTS);
  size_t room = v->inode_bytes - core_bytes, attribute_offset = (size_t)b[82] * 8;
  if (attribute_offset >= room)
    return damaged(v, inode->number, "its attributes begin behind its end");
  inode->has_attributes = attribute_offset > 0;
  inode->data.bytes = b + core_bytes;
  inode->data.room_bytes = attribute_offset ? attribute_offset : room;
  inode->data.extents = big_counts ? xfs_be64(b + 24) : xfs_be32(b + 76);
  int r = set_fork(v, inode->number, &inode->data, b[5]);
  if (r < 0 || !inode->has_attributes)
    return r;
  inode->attributes.bytes = inode->data.bytes + attribute_offset;
  inode->attributes.room_bytes = room - attribute_offset;
  inode->attributes.extents = big_counts ? xfs_be32(b + 76) : xfs_be16(b + 80);
  return set_fork(v, inode->number, &inode->attributes, b[83]);
}

int scope_xfs_inode(struct xfs_volume *v, uint64_t number, struct xfs_inode *ret) {
  uint64_t offset = 0;
  int r = locate(v, number, &offset);
  if (r == 0)
    r = scope_read(v->scope, offset, ret->bytes, v->inode_bytes);
  if (r < 0)
    return r;
  const uint8_t *b = ret->bytes;
  if (xfs_be16(b) != MAGIC || (v->v5 ? b[4] != 3 : b[4] != 1 && b[4] != 2))
    return damaged(v, number, "it is none");
  if (!scope_xfs_checksum(v, b, v->inode_bytes, CHECKSUM_OFFSET))
    return damaged(v, number, "its checksum is wrong");
  if (v->v5 && xfs_be64(b + 152) != number)
    return damaged(v, number, "it says it is another");
  ret->number = number;
  ret->mode = xfs_be16(b + 2);
  if (ret->mode == 0)
    return damaged(v, number, "it is in a directory but not in use");
  ret->links = b[4] == 1 ? xfs_be16(b + 6) : xfs_be32(b + 16);
  ret->size_bytes = xfs_be64(b + 56);
  ret->realtime = S_ISREG(ret->mode) && (xfs_be16(b + 90) & FLAG_REALTIME);
  return set_forks(v, ret, v->v5 ? CORE_3_BYTES : CORE_2_BYTES);
}
