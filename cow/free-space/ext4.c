/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Free space of ext2, ext3 and ext4: the zeros of each group's block bitmap.
 *
 * libext2fs opens the filesystem, knows features and checksums, and where everything lies. Bitmaps are taken group by
 * group, not by ext2fs_read_block_bitmap(), which keeps all of them: memory stays small, and a bitmap is believed
 * only if descriptor and bitmap pass their checksums and the descriptor counts as many free clusters.  A bit stands
 * for a cluster: one block, more with bigalloc.
 */
#include "common/cleanup.h"
#include "cow/free-space/filesystem.h"
#include "volume/ext2-reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
  BLOCK_LOG_MAX = 6,
  GROUP_BLOCKS_MIN = 256, /* of whatever mke2fs makes */
  JOURNAL_MAGIC_OFFSET = 0,
  JOURNAL_START_OFFSET = 28,
  JOURNAL_ERRNO_OFFSET = 32,
  JOURNAL_MAGIC = 0xc03b3998,
};

struct volume {
  struct free_space *f;
  ext2_filsys fs;
  uint8_t *bitmap; /* a block */
};

static int read_volume(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  return free_space_read(context, buffer, length_bytes, offset_bytes);
}

static int failure(struct volume *v, errcode_t code, const char *what) {
  if (v->f->read_error)
    return v->f->read_error;
  if (code == EXT2_ET_NO_MEMORY)
    return error_set(v->f->err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading what is free: out of memory");
  if (code == EXT2_ET_UNSUPP_FEATURE || code == EXT2_ET_RO_UNSUPP_FEATURE)
    return free_space_refuse(v->f, "ext4: %s", error_message(code));
  return free_space_damaged(v->f, "ext4: %s: %s", what, error_message(code));
}

/* ---- may it be believed? ---- */

/* Before libext2fs allocates by it: do its numbers fit the volume? */
static int check_size(struct free_space *f, const struct ext2_super_block *super) {
  uint32_t log = ext2fs_le32_to_cpu(super->s_log_block_size);
  uint32_t group_blocks = ext2fs_le32_to_cpu(super->s_blocks_per_group);
  uint64_t blocks = ext2fs_le32_to_cpu(super->s_blocks_count);
  if (super->s_feature_incompat & ext2fs_cpu_to_le32(EXT4_FEATURE_INCOMPAT_64BIT))
    blocks |= (uint64_t)ext2fs_le32_to_cpu(super->s_blocks_count_hi) << 32;
  if (log > BLOCK_LOG_MAX || blocks > f->source->volume_bytes / ((uint64_t)EXT2_MIN_BLOCK_SIZE << log))
    return free_space_damaged(f, "ext4: the superblock does not fit the volume");
  if (group_blocks < GROUP_BLOCKS_MIN || blocks / group_blocks >= FREE_SPACE_GROUPS_MAX)
    return free_space_refuse(f, "ext4: more than %d groups", (int)FREE_SPACE_GROUPS_MAX);
  return 0;
}

static int check_state(struct free_space *f, const struct ext2_super_block *super) {
  uint16_t state = ext2fs_le16_to_cpu(super->s_state);
  if (super->s_feature_incompat & ext2fs_cpu_to_le32(EXT3_FEATURE_INCOMPAT_RECOVER))
    return free_space_refuse(f, "ext4 was in use: its journal is to be replayed");
  if (state & EXT2_ERROR_FS)
    return free_space_refuse(f, "ext4 has found errors in itself");
  if (!(state & EXT2_VALID_FS))
    return free_space_refuse(f, "ext4 was in use, without a journal");
  if (super->s_feature_ro_compat & ext2fs_cpu_to_le32(~(uint32_t)EXT2_LIB_FEATURE_RO_COMPAT_SUPP))
    return free_space_refuse(f, "ext4 has features that are not known here");
  return 0;
}

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The journal says for itself that nothing is left in it. */
static int check_journal(struct volume *v) {
  uint32_t number = v->fs->super->s_journal_inum;
  struct ext2_inode inode;
  blk64_t block = 0;
  if (!ext2fs_has_feature_journal(v->fs->super))
    return 0;
  if (number == 0)
    return free_space_refuse(v->f, "ext4 has its journal elsewhere");
  errcode_t code = ext2fs_read_inode(v->fs, number, &inode);
  if (!code)
    code = ext2fs_bmap2(v->fs, number, &inode, NULL, 0, 0, NULL, &block);
  if (!code)
    code = io_channel_read_blk64(v->fs->io, block, 1, v->bitmap);
  if (code)
    return failure(v, code, "the journal");
  if (big_endian(v->bitmap + JOURNAL_MAGIC_OFFSET) != JOURNAL_MAGIC)
    return free_space_damaged(v->f, "ext4: the journal is none");
  if (big_endian(v->bitmap + JOURNAL_START_OFFSET) != 0)
    return free_space_refuse(v->f, "ext4 was in use: its journal is not empty");
  if (big_endian(v->bitmap + JOURNAL_ERRNO_OFFSET) != 0)
    return free_space_refuse(v->f, "ext4 had an error in its journal");
  return 0;
}

/* ---- bitmaps ---- */

static void mark_used(struct volume *v, dgrp_t group, blk64_t block, uint64_t count) {
  blk64_t first = ext2fs_group_first_block2(v->fs, group), last = ext2fs_group_last_block2(v->fs, group);
  for (blk64_t b = block < first ? first : block; b < block + count && b <= last; b++)
    ext2fs_set_bit((unsigned)((b - first) >> v->fs->cluster_ratio_bits), v->bitmap);
}

/* A group that never held data has no bitmap on disk: only its own metadata are used. */
static int make_bitmap(struct volume *v, dgrp_t group) {
  blk64_t super = 0, old_descriptors = 0, new_descriptors = 0;
  blk_t unused = 0;
  memset(v->bitmap, 0, v->fs->blocksize);
  errcode_t code = ext2fs_super_and_bgd_loc2(v->fs, group, &super, &old_descriptors, &new_descriptors, &unused);
  if (code)
    return failure(v, code, "the place of the superblock's copies");
  if (super || group == 0)
    mark_used(v, group, super, 1);
  if (old_descriptors)
    mark_used(v, group, old_descriptors,
              ext2fs_has_feature_meta_bg(v->fs->super) ? v->fs->super->s_first_meta_bg
                                                       : v->fs->desc_blocks + v->fs->super->s_reserved_gdt_blocks);
  if (new_descriptors)
    mark_used(v, group, new_descriptors, 1);
  mark_used(v, group, ext2fs_block_bitmap_loc(v->fs, group), 1);
  mark_used(v, group, ext2fs_inode_bitmap_loc(v->fs, group), 1);
  mark_used(v, group, ext2fs_inode_table_loc(v->fs, group), v->fs->inode_blocks_per_group);
  return 0;
}

static int read_bitmap(struct volume *v, dgrp_t group) {
  blk64_t block = ext2fs_block_bitmap_loc(v->fs, group);
  if (block <= v->fs->super->s_first_data_block || block >= ext2fs_blocks_count(v->fs->super))
    return free_space_damaged(v->f, "ext4: the bitmap of group %" PRIu32 " is outside", (uint32_t)group);
  errcode_t code = io_channel_read_blk64(v->fs->io, block, 1, v->bitmap);
  if (code)
    return failure(v, code, "a bitmap");
  if (!ext2fs_block_bitmap_csum_verify(v->fs, group, (char *)v->bitmap,
                                       (int)(EXT2_CLUSTERS_PER_GROUP(v->fs->super) / 8)))
    return free_space_damaged(v->f, "ext4: the checksum of the bitmap of group %" PRIu32 " is wrong",
                              (uint32_t)group);
  return 0;
}

/* The first bit from `from` on that is set, or not; count if there is none. */
static uint32_t find_bit(const uint8_t *bitmap, uint32_t from, uint32_t count, bool set) {
  const uint8_t without = set ? 0 : 0xff;
  uint32_t bit = from;
  while (bit < count) {
    if (bit % 8 == 0 && bitmap[bit / 8] == without) {
      bit += 8;
      continue;
    }
    if ((bitmap[bit / 8] >> bit % 8 & 1) == set)
      return bit;
    bit++;
  }
  return count;
}

static int visit_group(struct volume *v, dgrp_t group) {
  uint64_t first = ext2fs_group_first_block2(v->fs, group);
  uint32_t blocks = (uint32_t)ext2fs_group_blocks_count(v->fs, group), log = (uint32_t)v->fs->cluster_ratio_bits;
  uint32_t clusters = (uint32_t)(((uint64_t)blocks + (1u << log) - 1) >> log), counted = 0;
  for (uint32_t bit = 0; (bit = find_bit(v->bitmap, bit, clusters, false)) < clusters;) {
    uint32_t end = find_bit(v->bitmap, bit, clusters, true);
    uint64_t block = (uint64_t)bit << log, block_end = (uint64_t)end << log;
    if (block_end > blocks)
      block_end = blocks;
    counted += end - bit;
    int r =
        v->f->visit(v->f->visit_context, (first + block) * v->fs->blocksize, (block_end - block) * v->fs->blocksize);
    if (r != 0)
      return r;
    bit = end;
  }
  if (counted != ext2fs_bg_free_blocks_count(v->fs, group))
    return free_space_damaged(v->f, "ext4: group %" PRIu32 " has %" PRIu32 " clusters free and counts %" PRIu32,
                              (uint32_t)group, counted, (uint32_t)ext2fs_bg_free_blocks_count(v->fs, group));
  return 0;
}

static int visit_groups(struct volume *v) {
  uint32_t bits = v->fs->blocksize * 8;
  if (EXT2_CLUSTERS_PER_GROUP(v->fs->super) > bits ||
      EXT2_BLOCKS_PER_GROUP(v->fs->super) > (uint64_t)bits << v->fs->cluster_ratio_bits)
    return free_space_damaged(v->f, "ext4: groups are larger than their bitmaps");
  for (dgrp_t group = 0; group < v->fs->group_desc_count; group++) {
    bool described = ext2fs_has_group_desc_csum(v->fs);
    if (described && !ext2fs_group_desc_csum_verify(v->fs, group))
      return free_space_damaged(v->f, "ext4: the checksum of group %" PRIu32 " is wrong", (uint32_t)group);
    bool without = described && ext2fs_bg_flags_test(v->fs, group, EXT2_BG_BLOCK_UNINIT);
    int r = without ? make_bitmap(v, group) : read_bitmap(v, group);
    if (r == 0)
      r = visit_group(v, group);
    if (r != 0)
      return r;
  }
  return 0;
}

static int visit_open(struct volume *v) {
  CLEANUP_FREE uint8_t *block = malloc(v->fs->blocksize);
  if (!block)
    return failure(v, EXT2_ET_NO_MEMORY, "");
  v->bitmap = block;
  int r = check_journal(v);
  return r < 0 ? r : visit_groups(v);
}

int free_space_ext4(struct free_space *f) {
  struct ext2_super_block super;
  int r = free_space_read(f, &super, sizeof super, SUPERBLOCK_OFFSET);
  if (r == 0)
    r = check_size(f, &super);
  if (r == 0)
    r = check_state(f, &super);
  if (r < 0)
    return r;
  struct ext2_reader reader = {.read = read_volume, .context = f};
  struct volume v = {.f = f};
  errcode_t code = ext2_reader_open(&reader, EXT2_FLAG_64BITS, &v.fs);
  if (code)
    return failure(&v, code, "the superblock");
  r = visit_open(&v);
  ext2fs_free(v.fs);
  return r;
}
