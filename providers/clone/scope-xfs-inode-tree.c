/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way to one inode through the inode B+tree of its allocation group.  A mount looks up the root directory like an
 * inode number from outside (XFS_IGET_UNTRUSTED), and so reads this tree; all other inodes are found by their number
 * alone.
 */
#include "providers/clone/scope-xfs.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
  GROUP_MAGIC = 0x58414749, /* "XAGI" */
  GROUP_SECTOR = 2,
  GROUP_CHECKSUM_OFFSET = 312,
  NODE_4_HEADER_BYTES = 16,
  NODE_5_HEADER_BYTES = 56,
  NODE_CHECKSUM_OFFSET = 52,
  KEY_BYTES = 4,
  POINTER_BYTES = 4,
  LEVELS_MAX = 12,
};
#define NODE_4_MAGIC UINT32_C(0x49414254) /* "IABT" */
#define NODE_5_MAGIC UINT32_C(0x49414233) /* "IAB3" */

/* What is kept of where the way is. Numbers of blocks and inodes are those within the group. */
struct step {
  uint64_t group;
  uint32_t inode, block;
  unsigned level;
};

static int damaged(struct xfs_volume *v, const struct step *step, const char *what) {
  return scope_damaged(v->scope, "allocation group %" PRIu64 ": %s", step->group, what);
}

/* Marks the node the step is at and goes down to its child. */
static int descend(struct xfs_volume *v, struct step *step, uint8_t *node) {
  uint64_t block = 0;
  if (step->block >= v->group_blocks || !scope_xfs_block(v, step->group << v->group_log | step->block, 1, &block))
    return damaged(v, step, "the inode tree leads outside the group");
  scope_want(v->scope, block << v->block_log, v->block_bytes);
  if (step->level == 0)
    return 0;
  int r = scope_read(v->scope, block << v->block_log, node, v->block_bytes);
  if (r < 0)
    return r;
  size_t header = v->v5 ? NODE_5_HEADER_BYTES : NODE_4_HEADER_BYTES;
  size_t room = (v->block_bytes - header) / (KEY_BYTES + POINTER_BYTES);
  unsigned count = xfs_be16(node + 6);
  if (xfs_be32(node) != (v->v5 ? NODE_5_MAGIC : NODE_4_MAGIC) || xfs_be16(node + 4) != step->level || count == 0 ||
      count > room)
    return damaged(v, step, "a node of the inode tree is damaged");
  if (!scope_xfs_checksum(v, node, v->block_bytes, NODE_CHECKSUM_OFFSET))
    return damaged(v, step, "the checksum of a node of the inode tree is wrong");
  unsigned i = 0;
  while (i + 1 < count && xfs_be32(node + header + (size_t)(i + 1) * KEY_BYTES) <= step->inode)
    i++;
  step->block = xfs_be32(node + header + room * KEY_BYTES + (size_t)i * POINTER_BYTES);
  step->level--;
  return 1;
}

int scope_xfs_inode_tree(struct xfs_volume *v, uint64_t number) {
  unsigned within_log = v->group_log + v->inodes_a_block_log;
  struct step step = {.group = number >> within_log, .inode = (uint32_t)(number & ((UINT64_C(1) << within_log) - 1))};
  if (step.group >= v->groups)
    return damaged(v, &step, "there is no such group");
  CLEANUP_FREE uint8_t *buffer = malloc(v->block_bytes > v->sector_bytes ? v->block_bytes : v->sector_bytes);
  if (!buffer)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "reading XFS: out of memory");
  uint64_t offset = ((step.group * v->group_blocks) << v->block_log) + (uint64_t)GROUP_SECTOR * v->sector_bytes;
  int r = scope_read(v->scope, offset, buffer, v->sector_bytes);
  if (r < 0)
    return r;
  if (xfs_be32(buffer) != GROUP_MAGIC)
    return damaged(v, &step, "its inode header is damaged");
  if (!scope_xfs_checksum(v, buffer, v->sector_bytes, GROUP_CHECKSUM_OFFSET))
    return damaged(v, &step, "the checksum of its inode header is wrong");
  step.block = xfs_be32(buffer + 20);
  unsigned levels = xfs_be32(buffer + 24);
  if (levels == 0 || levels > LEVELS_MAX)
    return damaged(v, &step, "its inode tree has an impossible depth");
  step.level = levels - 1;
  do
    r = descend(v, &step, buffer);
  while (r > 0);
  return r;
}
