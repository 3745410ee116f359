/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Free space of XFS: the records of each allocation group's tree of free extents by block (bnobt).
 *
 * Freezing XFS writes every changed structure to its place (xfs_log_quiesce() empties the log's list of what is not
 * yet there), then logs the superblock once more so that a mount replays: the log of a frozen filesystem looks used,
 * the trees on disk are the ones in memory. (tests/integration/free-space/xfs.sh compares them.)
 *
 * A group is believed if its header and every block of the tree pass: magic, checksum, UUID, owner and own address
 * (version 5), level, number of records, siblings that link the blocks in the order in which the parents list them,
 * keys equal to the first record below, records ascending, and in sum and maximum what the header counts.  The
 * ascending order also bounds the walk: no block is visited twice. Blocks of the free list (AGFL) are in no tree, so
 * they are not free here.
 */
#include "common/cleanup.h"
#include "cow/free-space/filesystem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <ext2fs/ext2fs.h>

enum {
  SECTOR_BYTES_MIN = 512,
  SECTOR_BYTES_MAX = 32 * 1024,
  SECTOR_LOG_ADDRESS = 9, /* blocks name themselves in units of 512 bytes */
  GROUP_BLOCKS_MIN = 64,
  GROUP_HEADER_SECTORS = 4, /* superblock, free space, inodes, free list */
  LEVELS_MAX = 9,
  UUID_BYTES = 16,

  SUPER_CRC_OFFSET = 224,
  VERSION_MASK = 0x000f,
  INCOMPAT_META_UUID = 0x04,
  INCOMPAT_NEEDS_REPAIR = 0x10,
  /* File type, sparse inodes, metadata UUID, big times, big counts, exchange, parent pointers: none of them changes
     how free space is kept. */
  INCOMPAT_KNOWN = 0xef,
  /* Free inode tree, reverse map, shared extents, counts of inode trees. */
  RO_COMPAT_KNOWN = 0x0f,

  GROUP_MAGIC = 0x58414746, /* "XAGF" */
  GROUP_BYTES = 224,
  GROUP_CRC_OFFSET = 216,

  TREE_MAGIC_4 = 0x41425442, /* "ABTB" */
  TREE_MAGIC_5 = 0x41423342, /* "AB3B" */
  TREE_HEADER_BYTES_4 = 16,
  TREE_HEADER_BYTES_5 = 56,
  TREE_CRC_OFFSET = 52,
  RECORD_BYTES = 8,
  POINTER_BYTES = 4,
};
#define NO_BLOCK UINT32_MAX

struct xfs {
  struct free_space *f;
  bool v5;
  uint8_t uuid[UUID_BYTES]; /* that metadata carry */
  unsigned block_log, group_log;
  uint32_t block_bytes, sector_bytes, group_blocks, groups;
  uint64_t blocks;
  uint64_t log_block; /* from the start of the filesystem; log_blocks is 0 if it lies elsewhere */
  uint32_t log_blocks;
};

/* One group's tree. */
struct tree {
  struct xfs *x;
  uint32_t group, group_blocks;
  uint8_t *buffers; /* a block a level */
  unsigned levels;
  /* The way along each level, from left to right. */
  uint32_t previous[LEVELS_MAX], next[LEVELS_MAX];
  uint32_t free_from;   /* where the next record may begin */
  uint64_t free_blocks; /* of the records so far */
  uint32_t longest;
};

static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t be32(const uint8_t *p) { return (uint32_t)be16(p) << 16 | be16(p + 2); }
static uint64_t be64(const uint8_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 4); }

/* CRC32c over the structure with zeros for the checksum itself, which is little-endian as nothing else is. */
static bool checksum_holds(const uint8_t *bytes, size_t length_bytes, size_t offset) {
  static const uint8_t zeros[4];
  uint32_t crc = ext2fs_crc32c_le(UINT32_MAX, bytes, offset), stored = 0;
  crc = ext2fs_crc32c_le(crc, zeros, sizeof zeros);
  crc = ~ext2fs_crc32c_le(crc, bytes + offset + sizeof zeros, length_bytes - offset - sizeof zeros);
  memcpy(&stored, bytes + offset, sizeof stored);
  return ext2fs_le32_to_cpu(stored) == crc;
}

/* ---- superblock ---- */

static int take_features(struct xfs *x, const uint8_t *super) {
  unsigned version = be16(super + 100) & VERSION_MASK;
  if (version != 4 && version != 5)
    return free_space_refuse(x->f, "XFS is of neither version 4 nor 5");
  x->v5 = version == 5;
  uint32_t ro_compat = x->v5 ? be32(super + 212) : 0, incompat = x->v5 ? be32(super + 216) : 0;
  if (incompat & INCOMPAT_NEEDS_REPAIR || super[126] != 0)
    return free_space_refuse(x->f, "XFS waits for a repair");
  if (incompat & ~(uint32_t)INCOMPAT_KNOWN || ro_compat & ~(uint32_t)RO_COMPAT_KNOWN)
    return free_space_refuse(x->f, "XFS has features that are not known here");
  memcpy(x->uuid, super + (incompat & INCOMPAT_META_UUID ? 248 : 32), UUID_BYTES);
  return 0;
}

static int take_sizes(struct xfs *x, const uint8_t *super) {
  x->block_bytes = be32(super + 4);
  x->blocks = be64(super + 8);
  x->group_blocks = be32(super + 84);
  x->groups = be32(super + 88);
  x->sector_bytes = be16(super + 102);
  x->block_log = super[120];
  x->group_log = super[124];
  if (x->block_log < 9 || x->block_log > 16 || x->block_bytes != 1u << x->block_log ||
      x->sector_bytes < SECTOR_BYTES_MIN || x->sector_bytes > SECTOR_BYTES_MAX ||
      (x->sector_bytes & (x->sector_bytes - 1)) != 0 || x->group_log > 31 || x->group_blocks < GROUP_BLOCKS_MIN ||
      x->group_blocks > UINT64_C(1) << x->group_log || x->groups == 0 ||
      x->blocks > (uint64_t)x->groups * x->group_blocks || x->blocks <= (uint64_t)(x->groups - 1) * x->group_blocks ||
      x->blocks > x->f->source->volume_bytes >> x->block_log)
    return free_space_damaged(x->f, "XFS: the superblock has impossible sizes");
  return 0;
}

static int take_log(struct xfs *x, const uint8_t *super) {
  uint64_t start = be64(super + 48), group = start >> x->group_log;
  uint64_t within = start & ((UINT64_C(1) << x->group_log) - 1);
  if (start == 0)
    return 0;
  x->log_blocks = be32(super + 96);
  x->log_block = group * x->group_blocks + within;
  if (group >= x->groups || within >= x->group_blocks || x->log_blocks > x->group_blocks - within ||
      x->log_block + x->log_blocks > x->blocks)
    return free_space_damaged(x->f, "XFS: the log is outside");
  return 0;
}

static int take_superblock(struct xfs *x) {
  uint8_t sector[SECTOR_BYTES_MAX];
  int r = free_space_read(x->f, sector, SECTOR_BYTES_MIN, 0);
  if (r == 0)
    r = take_features(x, sector);
  if (r == 0)
    r = take_sizes(x, sector);
  if (r == 0)
    r = take_log(x, sector);
  if (r == 0 && x->v5) {
    r = free_space_read(x->f, sector, x->sector_bytes, 0);
    if (r == 0 && !checksum_holds(sector, x->sector_bytes, SUPER_CRC_OFFSET))
      r = free_space_damaged(x->f, "XFS: the checksum of the superblock is wrong");
  }
  return r;
}

/* ---- a group's tree ---- */

static uint64_t group_start(const struct tree *t) { return (uint64_t)t->group * t->x->group_blocks; }

static int bad_tree(struct tree *t, uint32_t block, const char *what) {
  return free_space_damaged(t->x->f, "XFS: free-space tree of group %" PRIu32 ", block %" PRIu32 ": %s", t->group,
                            block, what);
}

/* Takes a block that stands at a level (leaves: 0) through everything that can be said of it alone. */
static int read_block(struct tree *t, uint32_t block, unsigned level, uint8_t *bytes, uint32_t *ret_count) {
  const struct xfs *x = t->x;
  uint64_t at = (group_start(t) + block) << x->block_log;
  uint32_t header = x->v5 ? TREE_HEADER_BYTES_5 : TREE_HEADER_BYTES_4;
  uint32_t one = level == 0 ? RECORD_BYTES : RECORD_BYTES + POINTER_BYTES;
  if (block >= t->group_blocks)
    return bad_tree(t, block, "it is outside");
  int r = free_space_read(x->f, bytes, x->block_bytes, at);
  if (r < 0)
    return r;
  if (be32(bytes) != (x->v5 ? TREE_MAGIC_5 : TREE_MAGIC_4) || be16(bytes + 4) != level)
    return bad_tree(t, block, "it is no block of this level");
  if (x->v5 &&
      (!checksum_holds(bytes, x->block_bytes, TREE_CRC_OFFSET) || be64(bytes + 16) != at >> SECTOR_LOG_ADDRESS ||
       memcmp(bytes + 32, x->uuid, UUID_BYTES) != 0 || be32(bytes + 48) != t->group))
    return bad_tree(t, block, "it is another's, or its checksum is wrong");
  *ret_count = be16(bytes + 6);
  if (*ret_count > (x->block_bytes - header) / one || (*ret_count == 0 && t->levels > 1))
    return bad_tree(t, block, "an impossible number of records");
  if (be32(bytes + 8) != t->previous[level] || (t->previous[level] != NO_BLOCK && t->next[level] != block))
    return bad_tree(t, block, "its neighbours are others");
  t->previous[level] = block;
  t->next[level] = be32(bytes + 12);
  return 0;
}

static bool touches_log(const struct tree *t, uint32_t block, uint32_t count) {
  uint64_t first = group_start(t) + block;
  return first < t->x->log_block + t->x->log_blocks && first + count > t->x->log_block;
}

static int visit_record(struct tree *t, uint32_t leaf, const uint8_t *record) {
  uint32_t block = be32(record), count = be32(record + 4);
  if (block < t->free_from || block >= t->group_blocks || count == 0 || count > t->group_blocks - block)
    return bad_tree(t, leaf, "records do not ascend");
  if (touches_log(t, block, count))
    return bad_tree(t, leaf, "the log is said to be free");
  t->free_from = block + count;
  t->free_blocks += count;
  if (count > t->longest)
    t->longest = count;
  return t->x->f->visit(t->x->f->visit_context, (group_start(t) + block) << t->x->block_log,
                        (uint64_t)count << t->x->block_log);
}

/* first: where the records below must begin, by the parent's key; NO_BLOCK: the root. */
static int visit_block(struct tree *t, uint32_t block, unsigned level, uint32_t first) {
  const struct xfs *x = t->x;
  uint8_t *bytes = t->buffers + ((size_t)level << x->block_log);
  uint32_t count = 0, header = x->v5 ? TREE_HEADER_BYTES_5 : TREE_HEADER_BYTES_4;
  int r = read_block(t, block, level, bytes, &count);
  if (r < 0)
    return r;
  if (first != NO_BLOCK && be32(bytes + header) != first)
    return bad_tree(t, block, "its first key is not its parent's");
  /* Pointers follow room for as many keys as a full block has. */
  const uint8_t *keys = bytes + header;
  const uint8_t *pointers = keys + (size_t)(x->block_bytes - header) / (RECORD_BYTES + POINTER_BYTES) * RECORD_BYTES;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *key = keys + (size_t)i * RECORD_BYTES;
    r = level == 0 ? visit_record(t, block, key)
                   : visit_block(t, be32(pointers + (size_t)i * POINTER_BYTES), level - 1, be32(key));
    if (r != 0)
      return r;
  }
  return 0;
}

static int check_group(struct tree *t, const uint8_t *header, uint32_t *ret_root) {
  const struct xfs *x = t->x;
  if (be32(header) != GROUP_MAGIC || be32(header + 4) != 1 || be32(header + 8) != t->group ||
      be32(header + 12) != t->group_blocks)
    return free_space_damaged(x->f, "XFS: group %" PRIu32 " has no header", t->group);
  if (x->v5 &&
      (!checksum_holds(header, x->sector_bytes, GROUP_CRC_OFFSET) || memcmp(header + 64, x->uuid, UUID_BYTES) != 0))
    return free_space_damaged(x->f, "XFS: the header of group %" PRIu32 " does not hold", t->group);
  *ret_root = be32(header + 16);
  t->levels = be32(header + 28);
  if (t->levels < 1 || t->levels > LEVELS_MAX)
    return free_space_damaged(x->f, "XFS: the tree of group %" PRIu32 " has an impossible height", t->group);
  return 0;
}

static int visit_group(struct xfs *x, uint32_t group, uint8_t *buffers) {
  uint8_t header[SECTOR_BYTES_MAX];
  struct tree t = {.x = x, .group = group, .group_blocks = x->group_blocks, .buffers = buffers};
  uint32_t root = 0;
  if (group == x->groups - 1)
    t.group_blocks = (uint32_t)(x->blocks - group_start(&t));
  int r = free_space_read(x->f, header, x->sector_bytes, (group_start(&t) << x->block_log) + x->sector_bytes);
  if (r == 0)
    r = check_group(&t, header, &root);
  if (r < 0)
    return r;
  t.free_from = (GROUP_HEADER_SECTORS * x->sector_bytes + x->block_bytes - 1) >> x->block_log;
  for (unsigned level = 0; level < t.levels; level++)
    t.previous[level] = t.next[level] = NO_BLOCK;
  r = visit_block(&t, root, t.levels - 1, NO_BLOCK);
  if (r != 0)
    return r;
  for (unsigned level = 0; level < t.levels; level++)
    if (t.next[level] != NO_BLOCK)
      return bad_tree(&t, t.previous[level], "more follows");
  if (t.free_blocks != be32(header + 52) || t.longest != be32(header + 56))
    return free_space_damaged(x->f, "XFS: group %" PRIu32 " counts other free blocks than it has", group);
  return 0;
}

int free_space_xfs(struct free_space *f) {
  struct xfs x = {.f = f};
  int r = take_superblock(&x);
  if (r < 0)
    return r;
  CLEANUP_FREE uint8_t *buffers = malloc((size_t)LEVELS_MAX << x.block_log);
  if (!buffers)
    return error_set(f->err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading what is free: out of memory");
  for (uint32_t group = 0; group < x.groups && r == 0; group++)
    r = visit_group(&x, group, buffers);
  return r;
}
