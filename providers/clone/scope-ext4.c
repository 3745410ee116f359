/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which blocks of ext2, ext3 and ext4 an inode needs, and what a mount with ro,noload reads.
 *
 * The mount (fs/ext4/super.c, kernels 5.10 to 6.18) reads: the superblock; every block of group descriptors; the root
 * inode; the journal's inode and block map (block_validity and the overhead count look at it, noload or not); the
 * whole orphan file. Neither bitmaps, backup superblocks, quota and resize inodes nor the journal's blocks are read
 * before somebody writes. The MMP block and the journal's superblock come along because tools like dumpe2fs want
 * them; that is two blocks.
 */
#include "providers/clone/scope-ext4.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* libext2fs reads through the walk. */
static int read_scope(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  return scope_read(context, offset_bytes, buffer, length_bytes);
}

int scope_ext4_failure(struct ext4_volume *v, errcode_t code, const char *what, uint64_t number) {
  if (scope_read_error(v->scope))
    return scope_read_error(v->scope);
  if (code == EXT2_ET_NO_MEMORY)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "reading %s %" PRIu64 ": out of memory", what,
                        number);
  return scope_damaged(v->scope, "%s %" PRIu64 ": %s", what, number, error_message(code));
}

/* ---- inodes ---- */

int scope_ext4_want(struct ext4_volume *v, uint32_t inode, uint64_t block, uint64_t count) {
  if (block == 0 || count > v->blocks || block > v->blocks - count)
    return scope_damaged(v->scope, "inode %" PRIu32 ": blocks %" PRIu64 "+%" PRIu64 " are outside the filesystem",
                         inode, block, count);
  scope_want(v->scope, block * v->fs->blocksize, count * v->fs->blocksize);
  return 0;
}

/* Marks the inode's place and reads it. The caller frees *ret. */
static int read_inode(struct ext4_volume *v, uint64_t number, struct ext2_inode_large **ret) {
  if (number == 0 || number > v->fs->super->s_inodes_count)
    return scope_damaged(v->scope, "inode %" PRIu64 " does not exist", number);
  size_t size = EXT2_INODE_SIZE(v->fs->super);
  /* An inode of 128 bytes has none of the fields behind them: zeros stand for them. */
  struct ext2_inode_large *inode = calloc(1, size < sizeof *inode ? sizeof *inode : size);
  if (!inode)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "reading inode %" PRIu64 ": out of memory", number);
  errcode_t code = ext2fs_read_inode_full(v->fs, (ext2_ino_t)number, (struct ext2_inode *)inode, (int)size);
  if (code) {
    free(inode);
    return scope_ext4_failure(v, code, "inode", number);
  }
  uint64_t index = number - 1, per_group = v->fs->super->s_inodes_per_group;
  uint64_t table = ext2fs_inode_table_loc(v->fs, (dgrp_t)(index / per_group));
  scope_want(v->scope, table * v->fs->blocksize + index % per_group * size, size);
  *ret = inode;
  return 0;
}

struct wanted_run {
  struct ext4_volume *volume;
  uint32_t inode;
  uint64_t blocks_max; /* of the file, from its start */
};

static int want_run(void *context, uint64_t logical, uint64_t physical, uint64_t count) {
  struct wanted_run *wanted = context;
  if (logical >= wanted->blocks_max)
    return 0;
  if (count > wanted->blocks_max - logical)
    count = wanted->blocks_max - logical;
  return scope_ext4_want(wanted->volume, wanted->inode, physical, count);
}

/* Fast symlinks, inline data, devices and the like keep all there is to them in the inode. */
static bool has_map(const struct ext2_inode_large *inode) {
  if (inode->i_flags & EXT4_INLINE_DATA_FL)
    return false;
  if (LINUX_S_ISLNK(inode->i_mode))
    return !ext2fs_is_fast_symlink((struct ext2_inode *)(uintptr_t)inode);
  return LINUX_S_ISREG(inode->i_mode) || LINUX_S_ISDIR(inode->i_mode);
}

static int want_data(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode,
                     uint64_t blocks_max) {
  struct wanted_run wanted = {.volume = v, .inode = number, .blocks_max = blocks_max};
  if (!has_map(inode))
    return 0;
  return scope_ext4_map(v, number, (const struct ext2_inode *)inode, want_run, &wanted);
}

static int visit(struct scope *s, void *state, uint64_t number) {
  struct ext4_volume *v = state;
  CLEANUP_FREE struct ext2_inode_large *inode = NULL;
  int r = read_inode(v, number, &inode);
  if (r < 0)
    return r;
  if (inode->i_mode == 0)
    return scope_damaged(s, "inode %" PRIu64 " is in a directory but not in use", number);
  bool directory = LINUX_S_ISDIR(inode->i_mode);
  r = scope_enter(s, number, directory, inode->i_links_count,
                  (inode->i_flags & (EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL)) != 0);
  if (r <= 0)
    return r;
  r = scope_tolerate(s, scope_ext4_attributes(v, (uint32_t)number, inode));
  if (r < 0)
    return r;
  return directory ? scope_ext4_directory(v, (uint32_t)number, inode)
                   : want_data(v, (uint32_t)number, inode, UINT64_MAX);
}

/* An inode that no directory names: its map and the first blocks of its data. */
static int want_special(struct ext4_volume *v, uint64_t number, uint64_t blocks_max) {
  CLEANUP_FREE struct ext2_inode_large *inode = NULL;
  int r = read_inode(v, number, &inode);
  return r < 0 ? r : want_data(v, (uint32_t)number, inode, blocks_max);
}

int scope_ext4_value_inode(struct ext4_volume *v, uint32_t number) {
  CLEANUP_FREE struct ext2_inode_large *inode = NULL;
  int r = read_inode(v, number, &inode);
  if (r < 0)
    return r;
  if (!LINUX_S_ISREG(inode->i_mode) || !(inode->i_flags & EXT4_EA_INODE_FL))
    return scope_damaged(v->scope, "inode %" PRIu32 " does not hold an attribute", number);
  return want_data(v, number, inode, UINT64_MAX);
}

/* ---- what a mount reads ---- */

/* Before libext2fs allocates by it: does the superblock fit the device? */
static int check_size(struct ext4_volume *v) {
  struct ext2_super_block super;
  int r = scope_read(v->scope, SUPERBLOCK_OFFSET, &super, sizeof super);
  if (r < 0)
    return scope_read_error(v->scope)
               ? r
               : scope_refuse(v->scope, r, UMBRA_REASON_DAMAGED, "no ext4 filesystem: too small");
  uint32_t log = ext2fs_le32_to_cpu(super.s_log_block_size);
  uint64_t blocks = ext2fs_le32_to_cpu(super.s_blocks_count);
  if (super.s_feature_incompat & ext2fs_cpu_to_le32(EXT4_FEATURE_INCOMPAT_64BIT))
    blocks |= (uint64_t)ext2fs_le32_to_cpu(super.s_blocks_count_hi) << 32;
  if (super.s_magic != ext2fs_cpu_to_le16(EXT2_SUPER_MAGIC) || log > 6 ||
      blocks > scope_size_bytes(v->scope) / (EXT2_MIN_BLOCK_SIZE << log))
    return scope_refuse(v->scope, -EUCLEAN, UMBRA_REASON_DAMAGED,
                        "no ext4 filesystem: the superblock does not fit the device");
  return 0;
}

static int open_library(struct ext4_volume *v) {
  int flags = EXT2_FLAG_64BITS;
  if (scope_get_mode(v->scope) == SCOPE_LIVE)
    flags |= EXT2_FLAG_IGNORE_CSUM_ERRORS;
  v->reader = (struct ext2_reader){.read = read_scope, .context = v->scope};
  errcode_t code = ext2_reader_open(&v->reader, flags, &v->fs);
  if (!code)
    return 0;
  if (code == EXT2_ET_UNSUPP_FEATURE || code == EXT2_ET_RO_UNSUPP_FEATURE)
    return scope_refuse(v->scope, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "reading ext4: %s",
                        error_message(code));
  if (scope_read_error(v->scope))
    return scope_read_error(v->scope);
  return scope_refuse(v->scope, code == EXT2_ET_NO_MEMORY ? -ENOMEM : -EUCLEAN, UMBRA_REASON_DAMAGED,
                      "reading ext4: %s", error_message(code));
}

static int want_mount(struct ext4_volume *v) {
  const struct ext2_super_block *super = v->fs->super;
  scope_want(v->scope, 0, SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE);
  for (dgrp_t i = 0; i < v->fs->desc_blocks; i++) {
    int r = scope_ext4_want(v, 0, ext2fs_descriptor_block_loc2(v->fs, super->s_first_data_block, i), 1);
    if (r < 0)
      return r;
  }
  int r = 0;
  if (ext2fs_has_feature_mmp(v->fs->super) && super->s_mmp_block)
    r = scope_ext4_want(v, 0, super->s_mmp_block, 1);
  if (r == 0 && ext2fs_has_feature_journal(v->fs->super) && super->s_journal_inum)
    r = want_special(v, super->s_journal_inum, 1);
  if (r == 0 && ext2fs_has_feature_orphan_file(v->fs->super) && super->s_orphan_file_inum)
    r = want_special(v, super->s_orphan_file_inum, UINT64_MAX);
  return r;
}

static int open_volume(struct scope *s, void **ret_state, uint64_t *ret_root) {
  struct ext4_volume *v = calloc(1, sizeof *v);
  if (!v)
    return scope_refuse(s, -ENOMEM, UMBRA_REASON_INTERNAL, "reading ext4: out of memory");
  v->scope = s;
  *ret_state = v;
  int r = check_size(v);
  if (r == 0)
    r = open_library(v);
  if (r < 0)
    return r;
  v->blocks = ext2fs_blocks_count(v->fs->super);
  *ret_root = EXT2_ROOT_INO;
  return scope_tolerate(s, want_mount(v));
}

static void close_volume(void *state) {
  struct ext4_volume *v = state;
  /* Not ext2fs_close(), which would write. */
  if (v->fs)
    ext2fs_free(v->fs);
  free(v);
}

static const char *const names[] = {"ext4", "ext3", "ext2", NULL};

const struct scope_filesystem scope_ext4 = {
    .names = names,
    .open = open_volume,
    .visit = visit,
    .close = close_volume,
};
