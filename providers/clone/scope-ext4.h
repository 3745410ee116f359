/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ext2, ext3, ext4 as the files scope-ext4*.c share it. libext2fs opens the filesystem over a walk's source, knows
 * the features, the places of descriptors and inodes, and the checksums; the block maps are read here, with bounds
 * that hold for any bytes.
 */
#ifndef PROVIDERS_CLONE_SCOPE_EXT4_H
#define PROVIDERS_CLONE_SCOPE_EXT4_H

#include "providers/clone/scope-filesystem.h"
#include "volume/ext2-reader.h"

struct ext4_volume {
  struct scope *scope;
  struct ext2_reader reader;
  ext2_filsys fs;
  uint64_t blocks;
};

/* count blocks from physical on hold the file from logical on. Negative ends the map. */
typedef int (*ext4_run_fn)(void *context, uint64_t logical, uint64_t physical, uint64_t count);

/*
 * Tells every mapped, written run of a file in order, and marks the blocks of the map itself.  The inode is one that
 * has a block map: no fast symlink, no inline data, no device.
 */
int scope_ext4_map(struct ext4_volume *v, uint32_t number, const struct ext2_inode *inode, ext4_run_fn run,
                   void *context);

/* Marks a directory's blocks, or none if it is inline, and tells the walk its entries. */
int scope_ext4_directory(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode);

/*
 * The attributes kept in the inode itself. ret_data: where attribute system.data (what of an inline file or directory
 * does not fit i_block) lies in the inode; NULL if there is none. Tells value inodes to ext4_value_inode().
 */
int scope_ext4_attributes(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode);
int scope_ext4_inline_tail(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode,
                           const uint8_t **ret_data, size_t *ret_length_bytes);

/* Marks an inode that holds one attribute's value. */
int scope_ext4_value_inode(struct ext4_volume *v, uint32_t number);

/* What libext2fs said, as a result of the walk: an error of the source, no memory, or damage in the words given. */
int scope_ext4_failure(struct ext4_volume *v, errcode_t code, const char *what, uint64_t number);

/* Marks count blocks. -EUCLEAN unless they lie in the filesystem. */
int scope_ext4_want(struct ext4_volume *v, uint32_t inode, uint64_t block, uint64_t count);

#endif
