/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories of ext2, ext3 and ext4.  Hash trees need no code of their own: their inner nodes look like entries
 * without an inode, and all blocks of a directory are wanted.
 */
#include "providers/clone/scope-ext4.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
  ENTRY_HEADER_BYTES = 8,
  INLINE_PARENT_BYTES = 4, /* before the entries of an inline directory */
};

struct directory {
  struct ext4_volume *volume;
  uint32_t inode;
  uint64_t size_bytes;
  uint8_t *block; /* blocksize */
};

static enum scope_kind kind_of(const struct ext4_volume *v, const struct ext2_dir_entry *entry) {
  if (!ext2fs_has_feature_filetype(v->fs->super))
    return SCOPE_KIND_UNKNOWN;
  switch (ext2fs_dirent_file_type(entry)) {
  case EXT2_FT_UNKNOWN:
    return SCOPE_KIND_UNKNOWN;
  case EXT2_FT_DIR:
    return SCOPE_KIND_DIRECTORY;
  default:
    return SCOPE_KIND_OTHER;
  }
}

/* area: aligned to 4 bytes. */
static int tell_entries(struct directory *d, const uint8_t *area, size_t length_bytes) {
  struct ext4_volume *v = d->volume;
  size_t offset = 0;
  while (length_bytes - offset >= ENTRY_HEADER_BYTES) {
    const struct ext2_dir_entry *entry = (const void *)(area + offset);
    unsigned length = 0;
    if (ext2fs_get_rec_len(v->fs, (struct ext2_dir_entry *)(uintptr_t)entry, &length) || length % 4 != 0 ||
        length < ENTRY_HEADER_BYTES || length > length_bytes - offset ||
        (unsigned)ext2fs_dirent_name_len(entry) > length - ENTRY_HEADER_BYTES)
      return scope_damaged(v->scope, "directory %" PRIu32 ": an entry is damaged", d->inode);
    if (entry->inode) {
      int r =
          scope_entry(v->scope, entry->name, (size_t)ext2fs_dirent_name_len(entry), entry->inode, kind_of(v, entry));
      if (r < 0)
        return r;
    }
    offset += length;
  }
  return 0;
}

static int tell_block(struct directory *d, uint64_t block) {
  errcode_t code = ext2fs_read_dir_block4(d->volume->fs, block, d->block, 0, d->inode);
  if (code)
    return scope_ext4_failure(d->volume, code, "directory", d->inode);
  return tell_entries(d, d->block, d->volume->fs->blocksize);
}

static int tell_run(void *context, uint64_t logical, uint64_t physical, uint64_t count) {
  struct directory *d = context;
  uint64_t blocks = (d->size_bytes + d->volume->fs->blocksize - 1) / d->volume->fs->blocksize;
  int r = scope_ext4_want(d->volume, d->inode, physical, count);
  for (uint64_t i = 0; i < count && logical + i < blocks && r == 0; i++)
    r = scope_tolerate(d->volume->scope, tell_block(d, physical + i));
  return r;
}

/* Entries in i_block behind the parent's number, then more in the attribute system.data. */
static int tell_inline(struct directory *d, const struct ext2_inode_large *inode) {
  memcpy(d->block, (const uint8_t *)inode->i_block + INLINE_PARENT_BYTES,
         sizeof inode->i_block - INLINE_PARENT_BYTES);
  int r = tell_entries(d, d->block, sizeof inode->i_block - INLINE_PARENT_BYTES);
  const uint8_t *data = NULL;
  size_t length = 0;
  if (r == 0)
    r = scope_ext4_inline_tail(d->volume, d->inode, inode, &data, &length);
  if (r < 0 || !data)
    return r;
  memcpy(d->block, data, length);
  return tell_entries(d, d->block, length);
}

int scope_ext4_directory(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode) {
  CLEANUP_FREE uint8_t *block = malloc(v->fs->blocksize);
  if (!block)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "directory %" PRIu32 ": out of memory", number);
  struct directory d = {
      .volume = v,
      .inode = number,
      .size_bytes = EXT2_I_SIZE(inode),
      .block = block,
  };
  if (inode->i_flags & EXT4_INLINE_DATA_FL)
    return tell_inline(&d, inode);
  return scope_ext4_map(v, number, (const struct ext2_inode *)inode, tell_run, &d);
}
