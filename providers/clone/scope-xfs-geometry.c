/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The superblock of XFS: checked before anything is computed from it, and refused where it names a feature that this
 * reader does not know.
 */
#include "providers/clone/scope-xfs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <ext2fs/ext2fs.h>

enum {
  SECTOR_BYTES_MIN = 512,
  SECTOR_BYTES_MAX = 32 * 1024,
  GROUP_HEADER_SECTORS = 4, /* superblock, free space, inodes, free list */
  GROUP_BLOCKS_MIN = 64,
  MAGIC = 0x58465342, /* "XFSB" */

  VERSION_MASK = 0x000f,
  VERSION_ALIGN = 0x0080,
  VERSION_DIRECTORY_2 = 0x2000,
  VERSION_CASE_INSENSITIVE = 0x4000,
  VERSION_MORE = 0x8000,
  FEATURE2_FILE_TYPE = 0x0200,

  /* Of features_incompat: file type, sparse inodes, metadata UUID, big times, needs repair, big counts, exchange,
     parent pointers. */
  INCOMPAT_FILE_TYPE = 0x01,
  INCOMPAT_KNOWN = 0xff,

  CLUSTER_BYTES = 8192, /* of inodes of INODE_BYTES_MIN */
  INODE_BYTES_MIN = 256,
};

bool scope_xfs_checksum(const struct xfs_volume *v, const uint8_t *bytes, size_t length_bytes, size_t offset) {
  static const uint8_t zeros[4];
  if (!v->v5 || scope_get_mode(v->scope) == SCOPE_LIVE)
    return true;
  uint32_t crc = ext2fs_crc32c_le(UINT32_MAX, bytes, offset);
  crc = ext2fs_crc32c_le(crc, zeros, sizeof zeros);
  crc = ~ext2fs_crc32c_le(crc, bytes + offset + sizeof zeros, length_bytes - offset - sizeof zeros);
  uint32_t stored = 0;
  memcpy(&stored, bytes + offset, sizeof stored);
  return ext2fs_le32_to_cpu(stored) == crc;
}

bool scope_xfs_block(const struct xfs_volume *v, uint64_t address, uint64_t count, uint64_t *ret_block) {
  uint64_t group = address >> v->group_log, within = address & ((UINT64_C(1) << v->group_log) - 1);
  if (group >= v->groups || within >= v->group_blocks || count > v->group_blocks - within)
    return false;
  *ret_block = group * v->group_blocks + within;
  return *ret_block + count <= v->blocks;
}

static int refuse(struct xfs_volume *v, const char *what) {
  return scope_refuse(v->scope, -EUCLEAN, UMBRA_REASON_DAMAGED, "reading XFS: %s", what);
}

static int unsupported(struct xfs_volume *v, const char *what) {
  return scope_refuse(v->scope, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "reading XFS: %s", what);
}

static int check_features(struct xfs_volume *v, const uint8_t *super) {
  uint16_t version = xfs_be16(super + 100);
  uint32_t features2 = version & VERSION_MORE ? xfs_be32(super + 200) : 0;
  if ((version & VERSION_MASK) != 4 && (version & VERSION_MASK) != 5)
    return unsupported(v, "its version is neither 4 nor 5");
  v->v5 = (version & VERSION_MASK) == 5;
  if (!v->v5 && !(version & VERSION_DIRECTORY_2))
    return unsupported(v, "its directories are of version 1");
  if (v->v5 && (xfs_be32(super + 216) & ~(uint32_t)INCOMPAT_KNOWN))
    return unsupported(v, "it has features that are not known here");
  v->file_type = v->v5 ? xfs_be32(super + 216) & INCOMPAT_FILE_TYPE : features2 & FEATURE2_FILE_TYPE;
  v->case_insensitive = version & VERSION_CASE_INSENSITIVE;
  if (xfs_be64(super + 16) != 0)
    return unsupported(v, "it has a realtime section on another device");
  if (xfs_be64(super + 48) == 0)
    return unsupported(v, "its log is on another device");
  return 0;
}

static int check_sizes(struct xfs_volume *v, const uint8_t *super) {
  v->block_bytes = xfs_be32(super + 4);
  v->blocks = xfs_be64(super + 8);
  v->group_blocks = xfs_be32(super + 84);
  v->groups = xfs_be32(super + 88);
  v->inode_bytes = xfs_be16(super + 104);
  v->sector_bytes = xfs_be16(super + 102);
  v->block_log = super[120];
  v->inode_log = super[122];
  v->group_log = super[124];
  unsigned directory_log = super[192];
  if (v->block_log < 9 || v->block_log > 16 || v->block_bytes != 1u << v->block_log || v->inode_log < 8 ||
      v->inode_log > 11 || v->inode_bytes != 1u << v->inode_log || v->inode_log > v->block_log ||
      directory_log > 16 - v->block_log)
    return refuse(v, "the superblock has impossible sizes");
  v->inodes_a_block_log = v->block_log - v->inode_log;
  v->directory_block_bytes = v->block_bytes << directory_log;
  if (v->sector_bytes < SECTOR_BYTES_MIN || v->sector_bytes > SECTOR_BYTES_MAX || v->group_log > 31 ||
      v->group_blocks < GROUP_BLOCKS_MIN || v->group_blocks > UINT64_C(1) << v->group_log || v->groups == 0 ||
      v->blocks > (uint64_t)v->groups * v->group_blocks || v->blocks <= (uint64_t)(v->groups - 1) * v->group_blocks)
    return refuse(v, "the superblock has impossible sizes");
  if (v->blocks > scope_size_bytes(v->scope) >> v->block_log)
    return refuse(v, "the superblock does not fit the device");
  return 0;
}

/* How the kernel reads inodes: xfs_ialloc_setup_geometry(), xfs_imap(). */
static int set_clusters(struct xfs_volume *v, const uint8_t *super) {
  uint32_t alignment = xfs_be16(super + 100) & VERSION_ALIGN ? xfs_be32(super + 180) : 0;
  uint32_t cluster_bytes = CLUSTER_BYTES;
  if (v->v5) {
    uint32_t larger = CLUSTER_BYTES * (v->inode_bytes / INODE_BYTES_MIN);
    if (alignment >= (larger + v->block_bytes - 1) >> v->block_log)
      cluster_bytes = larger;
  }
  v->cluster_blocks = cluster_bytes <= v->block_bytes ? 1 : cluster_bytes >> v->block_log;
  if (v->cluster_blocks == 1)
    return 0;
  /* Otherwise the kernel finds a chunk's beginning in the inode btree, which is not walked here. */
  if (alignment < v->cluster_blocks || (alignment & (alignment - 1)) != 0)
    return unsupported(v, "its inodes are not aligned");
  v->inode_alignment_mask = alignment - 1;
  return 0;
}

int scope_xfs_geometry(struct xfs_volume *v) {
  uint8_t super[SECTOR_BYTES_MIN];
  int r = scope_read(v->scope, 0, super, sizeof super);
  if (r < 0)
    return r == -EUCLEAN ? refuse(v, "no superblock") : r;
  if (xfs_be32(super) != MAGIC)
    return refuse(v, "no superblock");
  r = check_features(v, super);
  if (r == 0)
    r = check_sizes(v, super);
  if (r == 0)
    r = set_clusters(v, super);
  if (r < 0)
    return r;
  uint8_t sector[SECTOR_BYTES_MAX];
  r = scope_read(v->scope, 0, sector, v->sector_bytes);
  if (r < 0)
    return r;
  if (!scope_xfs_checksum(v, sector, v->sector_bytes, 224))
    return refuse(v, "the superblock's checksum is wrong");
  v->root = xfs_be64(super + 56);
  v->bitmap_inode = xfs_be64(super + 64);
  v->summary_inode = xfs_be64(super + 72);
  /* With norecovery the counters are not known to be good, and the mount adds up those of all groups' headers. */
  for (uint32_t group = 0; group < v->groups; group++)
    scope_want(v->scope, ((uint64_t)group * v->group_blocks) << v->block_log,
               (uint64_t)GROUP_HEADER_SECTORS * v->sector_bytes);
  return 0;
}
