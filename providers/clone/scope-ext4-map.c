/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a file of ext2, ext3 or ext4 lies: extent trees and indirect blocks.
 *
 * Not libext2fs's own iterators: they call back for each block of a file and, on a tree that changes or is damaged,
 * can go round in circles.  Here a node's range of the file narrows with every level and entries must rise within it,
 * so any bytes lead to an end.
 */
#include "providers/clone/scope-ext4.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <ext2fs/ext3_extents.h>

enum { DEPTH_MAX = 5 }; /* EXT4_MAX_EXTENT_DEPTH */

struct map {
  struct ext4_volume *volume;
  uint32_t inode;
  ext4_run_fn run;
  void *context;
  uint64_t mapped; /* blocks told and blocks of the map: never more than the filesystem has */
};

static int damaged(struct map *m, const char *what) {
  return scope_damaged(m->volume->scope, "inode %" PRIu32 ": %s", m->inode, what);
}

static int count_blocks(struct map *m, uint64_t count) {
  m->mapped += count;
  return m->mapped > m->volume->blocks ? damaged(m, "maps more blocks than the filesystem has") : 0;
}

/* A block of the map itself: marked and read. The caller frees *ret. */
static int read_node(struct map *m, uint64_t block, void **ret) {
  int r = scope_ext4_want(m->volume, m->inode, block, 1);
  if (r == 0)
    r = count_blocks(m, 1);
  if (r < 0)
    return r;
  CLEANUP_FREE void *node = malloc(m->volume->fs->blocksize);
  if (!node)
    return scope_refuse(m->volume->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "inode %" PRIu32 ": out of memory",
                        m->inode);
  r = scope_read(m->volume->scope, block * m->volume->fs->blocksize, node, m->volume->fs->blocksize);
  if (r == 0)
    *ret = take_pointer(node);
  return r;
}

/* ---- extents ---- */

/* The part of the file that a node may speak of. */
struct range {
  uint64_t first, end;
};

static int walk_leaf(struct map *m, const struct ext3_extent *extents, unsigned entries, struct range range) {
  for (unsigned i = 0; i < entries; i++) {
    struct ext3_extent extent;
    memcpy(&extent, &extents[i], sizeof extent);
    uint64_t logical = ext2fs_le32_to_cpu(extent.ee_block);
    uint64_t physical = ext2fs_le32_to_cpu(extent.ee_start) | (uint64_t)ext2fs_le16_to_cpu(extent.ee_start_hi) << 32;
    unsigned length = ext2fs_le16_to_cpu(extent.ee_len);
    bool unwritten = length > EXT_INIT_MAX_LEN;
    if (unwritten)
      length -= EXT_INIT_MAX_LEN;
    if (length == 0 || logical < range.first || logical + length > range.end)
      return damaged(m, "an extent is out of order");
    range.first = logical + length;
    int r = count_blocks(m, length);
    if (r == 0 && !unwritten)
      r = m->run(m->context, logical, physical, length);
    if (r < 0)
      return r;
  }
  return 0;
}

static int walk_tree(struct map *m, const struct ext3_extent_header *header, size_t room, int depth,
                     struct range range);

static int walk_child(struct map *m, uint64_t block, int depth, struct range range) {
  ext2_filsys fs = m->volume->fs;
  CLEANUP_FREE void *node = NULL;
  int r = read_node(m, block, &node);
  if (r < 0)
    return r;
  const struct ext3_extent_header *header = node;
  size_t room = (fs->blocksize - sizeof *header) / sizeof(struct ext3_extent);
  /* The checksum lies behind eh_max entries: libext2fs must not look there before that is known to be inside. */
  if (ext2fs_le16_to_cpu(header->eh_max) > room)
    return damaged(m, "a node of the extent tree is damaged");
  if (scope_get_mode(m->volume->scope) == SCOPE_EXACT && !ext2fs_extent_block_csum_verify(fs, m->inode, node))
    return damaged(m, "the checksum of a node of the extent tree is wrong");
  if (ext2fs_le16_to_cpu(header->eh_entries) == 0 && depth > 0)
    return damaged(m, "a node of the extent tree is empty");
  return walk_tree(m, header, room, depth, range);
}

static int walk_tree(struct map *m, const struct ext3_extent_header *header, size_t room, int depth,
                     struct range range) {
  unsigned entries = ext2fs_le16_to_cpu(header->eh_entries);
  if (ext2fs_le16_to_cpu(header->eh_magic) != EXT3_EXT_MAGIC || entries > room ||
      ext2fs_le16_to_cpu(header->eh_depth) != depth)
    return damaged(m, "a node of the extent tree is damaged");
  if (depth == 0)
    return walk_leaf(m, (const struct ext3_extent *)(header + 1), entries, range);
  const struct ext3_extent_idx *indexes = (const struct ext3_extent_idx *)(header + 1);
  for (unsigned i = 0; i < entries; i++) {
    const struct ext3_extent_idx *index = &indexes[i];
    uint64_t block = ext2fs_le32_to_cpu(index->ei_leaf) | (uint64_t)ext2fs_le16_to_cpu(index->ei_leaf_hi) << 32;
    struct range part = {.first = ext2fs_le32_to_cpu(index->ei_block), .end = range.end};
    if (i + 1 < entries)
      part.end = ext2fs_le32_to_cpu(index[1].ei_block);
    if (part.first < range.first || part.first >= part.end || part.end > range.end)
      return damaged(m, "the extent tree is out of order");
    /* In a live tree one leaf may be torn while its neighbours are not. */
    int r = scope_tolerate(m->volume->scope, walk_child(m, block, depth - 1, part));
    if (r < 0)
      return r;
    range.first = part.end;
  }
  return 0;
}

static int walk_extents(struct map *m, const struct ext2_inode *inode) {
  struct {
    struct ext3_extent_header header;
    uint8_t entries[sizeof inode->i_block - sizeof(struct ext3_extent_header)];
  } root __attribute__((aligned(8)));
  memcpy(&root, inode->i_block, sizeof root);
  int depth = ext2fs_le16_to_cpu(root.header.eh_depth);
  if (depth > DEPTH_MAX)
    return damaged(m, "the extent tree is too deep");
  return walk_tree(m, &root.header, sizeof root.entries / sizeof(struct ext3_extent), depth,
                   (struct range){.first = 0, .end = UINT64_C(1) << 32});
}

/* ---- indirect blocks ---- */

/* Neighbouring blocks are told as one run. */
struct gathered {
  uint64_t logical, physical, count;
};

static int tell_gathered(struct map *m, struct gathered *g) {
  struct gathered run = *g;
  g->count = 0;
  return run.count ? m->run(m->context, run.logical, run.physical, run.count) : 0;
}

static int gather(struct map *m, struct gathered *g, uint64_t logical, uint32_t physical) {
  int r = count_blocks(m, 1);
  if (r < 0)
    return r;
  if (g->count && g->logical + g->count == logical && g->physical + g->count == physical) {
    g->count++;
    return 0;
  }
  r = tell_gathered(m, g);
  *g = (struct gathered){.logical = logical, .physical = physical, .count = 1};
  return r;
}

/* block maps the file from logical on, through level more blocks. */
static int walk_indirect(struct map *m, struct gathered *g, uint32_t block, unsigned level, uint64_t logical) {
  if (block == 0)
    return 0;
  if (level == 0)
    return gather(m, g, logical, block);
  CLEANUP_FREE void *node = NULL;
  int r = scope_tolerate(m->volume->scope, read_node(m, block, &node));
  if (r < 0 || !node)
    return r;
  uint64_t count = m->volume->fs->blocksize / sizeof(uint32_t), span = 1;
  for (unsigned i = 1; i < level; i++)
    span *= count;
  const uint32_t *blocks = node;
  for (uint64_t i = 0; i < count && r == 0; i++)
    r = walk_indirect(m, g, ext2fs_le32_to_cpu(blocks[i]), level - 1, logical + i * span);
  return r;
}

static int walk_blocks(struct map *m, const struct ext2_inode *inode) {
  struct gathered g = {.count = 0};
  uint64_t logical = 0, span = 1, count = m->volume->fs->blocksize / sizeof(uint32_t);
  for (unsigned i = 0; i < EXT2_N_BLOCKS; i++) {
    unsigned level = i < EXT2_NDIR_BLOCKS ? 0 : i - EXT2_NDIR_BLOCKS + 1;
    if (level)
      span *= count;
    int r = walk_indirect(m, &g, inode->i_block[i], level, logical);
    if (r < 0)
      return r;
    logical += span;
  }
  return tell_gathered(m, &g);
}

int scope_ext4_map(struct ext4_volume *v, uint32_t number, const struct ext2_inode *inode, ext4_run_fn run,
                   void *context) {
  struct map m = {.volume = v, .inode = number, .run = run, .context = context};
  return inode->i_flags & EXT4_EXTENTS_FL ? walk_extents(&m, inode) : walk_blocks(&m, inode);
}
