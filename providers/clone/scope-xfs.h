/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * XFS as the files scope-xfs*.c share it: just enough of the format to find what an inode needs.  There is no library
 * that reads it.  Source: "XFS Algorithms & Data Structures" (xfs-documentation) and fs/xfs/libxfs/xfs_format.h of
 * Linux; all numbers on disk are big-endian, checksums (CRC-32C) little-endian.
 */
#ifndef PROVIDERS_CLONE_SCOPE_XFS_H
#define PROVIDERS_CLONE_SCOPE_XFS_H

#include "providers/clone/scope-filesystem.h"

/* The geometry, checked: block_bytes = 1 << block_log and so on, every block number below blocks fits the source. */
struct xfs_volume {
  struct scope *scope;
  uint64_t blocks;       /* of the filesystem */
  uint32_t group_blocks; /* of an allocation group, the last may have fewer */
  uint32_t groups;
  uint32_t block_bytes, directory_block_bytes, inode_bytes, sector_bytes;
  unsigned block_log, inode_log, inodes_a_block_log, group_log; /* group_log: bits of a block number within a group */
  bool v5;                                                      /* metadata describe and check themselves */
  bool file_type;                                               /* directory entries say what they are */
  bool case_insensitive;
  uint32_t inode_alignment_mask; /* chunks of 64 inodes begin at multiples, in blocks */
  uint32_t cluster_blocks;       /* inodes are read in buffers of so many */
  uint64_t root, bitmap_inode, summary_inode;
};

static inline uint16_t xfs_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t xfs_be32(const uint8_t *p) { return (uint32_t)xfs_be16(p) << 16 | xfs_be16(p + 2); }
static inline uint64_t xfs_be64(const uint8_t *p) { return (uint64_t)xfs_be32(p) << 32 | xfs_be32(p + 4); }

/* Reads the superblock and marks what a mount reads apart from inodes. */
int scope_xfs_geometry(struct xfs_volume *v);

/* True if the checksum at offset in a structure of that length holds, or is not looked at. */
bool scope_xfs_checksum(const struct xfs_volume *v, const uint8_t *bytes, size_t length_bytes, size_t offset);

/* An address on disk (group and block in it) as the number of a block from the start of the filesystem; false if
 * outside. */
bool scope_xfs_block(const struct xfs_volume *v, uint64_t address, uint64_t count, uint64_t *ret_block);

/* ---- inodes: scope-xfs-inode.c ---- */
enum { XFS_INODE_BYTES_MAX = 2048 };

enum xfs_format { XFS_FORMAT_DEVICE, XFS_FORMAT_LOCAL, XFS_FORMAT_EXTENTS, XFS_FORMAT_BTREE };

struct xfs_fork {
  enum xfs_format format;
  const uint8_t *bytes; /* in the inode */
  size_t room_bytes;
  uint64_t extents;
};

struct xfs_inode {
  uint64_t number;
  uint16_t mode;
  uint64_t links, size_bytes;
  bool realtime, has_attributes;
  struct xfs_fork data, attributes;
  uint8_t bytes[XFS_INODE_BYTES_MAX];
};

/* Marks the cluster of inodes it lies in and reads it. */
int scope_xfs_inode(struct xfs_volume *v, uint64_t number, struct xfs_inode *ret);

/* ---- the way to an inode by its group's tree: scope-xfs-inode-tree.c ---- */
int scope_xfs_inode_tree(struct xfs_volume *v, uint64_t number);

/* ---- forks: scope-xfs-fork.c ---- */
struct xfs_run {
  uint64_t logical, block, count; /* in blocks; block from the start of the filesystem */
  bool unwritten;
};
typedef int (*xfs_run_fn)(void *context, const struct xfs_run *run);

/* Tells every run of an extents or btree fork in order and marks the tree's blocks. Local forks have none. */
int scope_xfs_fork(struct xfs_volume *v, uint64_t number, const struct xfs_fork *fork, xfs_run_fn run, void *context);

/* ---- directories: scope-xfs-directory.c ---- */
/* Marks a directory's blocks and tells the walk its entries. */
int scope_xfs_directory(struct xfs_volume *v, const struct xfs_inode *inode);

#endif
