/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes of ext4 as far as they lead somewhere: to the attribute block, to inodes that hold large values
 * (feature ea_inode), and to what of an inline directory did not fit i_block.
 */
#include "providers/clone/scope-ext4.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <ext2fs/ext2_ext_attr.h>

enum { NAME_INDEX_SYSTEM = 7 };

/* A list of attribute entries; values lie at offsets from base. */
struct entries {
  const uint8_t *base, *first, *end;
};

/* Reads the entry at *at, which moves on. 1, 0 at the end of the list, or damage. *ret_name lies in the list. */
static int next_entry(struct ext4_volume *v, uint32_t number, const struct entries *list, const uint8_t **at,
                      struct ext2_ext_attr_entry *ret, const uint8_t **ret_name) {
  size_t left = (size_t)(list->end - *at);
  uint32_t mark = 0;
  if (left < sizeof mark)
    return 0;
  memcpy(&mark, *at, sizeof mark);
  if (mark == 0)
    return 0;
  if (left < sizeof *ret)
    return scope_damaged(v->scope, "inode %" PRIu32 ": an attribute is damaged", number);
  memcpy(ret, *at, sizeof *ret);
  if (EXT2_EXT_ATTR_LEN(ret->e_name_len) > left)
    return scope_damaged(v->scope, "inode %" PRIu32 ": an attribute is damaged", number);
  *ret_name = *at + sizeof *ret;
  *at += EXT2_EXT_ATTR_LEN(ret->e_name_len);
  return 1;
}

/* The list behind the fixed part of the inode. False if there is none. */
static bool inode_entries(const struct ext4_volume *v, const struct ext2_inode_large *inode, struct entries *ret) {
  size_t size = EXT2_INODE_SIZE(v->fs->super);
  if (size <= EXT2_GOOD_OLD_INODE_SIZE)
    return false;
  size_t start = EXT2_GOOD_OLD_INODE_SIZE + inode->i_extra_isize;
  uint32_t magic = 0;
  if (inode->i_extra_isize % 4 != 0 || start + sizeof magic > size)
    return false;
  const uint8_t *bytes = (const uint8_t *)inode;
  memcpy(&magic, bytes + start, sizeof magic);
  if (magic != EXT2_EXT_ATTR_MAGIC)
    return false;
  *ret = (struct entries){
      .base = bytes + start + sizeof magic, .first = bytes + start + sizeof magic, .end = bytes + size};
  return true;
}

static int want_value_inodes(struct ext4_volume *v, uint32_t number, const struct entries *list) {
  struct ext2_ext_attr_entry entry;
  const uint8_t *at = list->first, *name = NULL;
  int r;
  while ((r = next_entry(v, number, list, &at, &entry, &name)) == 1) {
    if (!entry.e_value_inum)
      continue;
    r = scope_tolerate(v->scope, scope_ext4_value_inode(v, entry.e_value_inum));
    if (r < 0)
      return r;
  }
  return r;
}

static int want_attribute_block(struct ext4_volume *v, uint32_t number, uint64_t block) {
  int r = scope_ext4_want(v, number, block, 1);
  if (r < 0 || !ext2fs_has_feature_ea_inode(v->fs->super))
    return r;
  CLEANUP_FREE uint8_t *buffer = malloc(v->fs->blocksize);
  if (!buffer)
    return scope_refuse(v->scope, -ENOMEM, UMBRA_REASON_INTERNAL, "inode %" PRIu32 ": out of memory", number);
  errcode_t code = ext2fs_read_ext_attr3(v->fs, block, buffer, number);
  if (code)
    return scope_ext4_failure(v, code, "attributes of inode", number);
  struct entries list = {
      .base = buffer, .first = buffer + sizeof(struct ext2_ext_attr_header), .end = buffer + v->fs->blocksize};
  return want_value_inodes(v, number, &list);
}

int scope_ext4_attributes(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode) {
  struct entries list;
  int r = 0;
  if (ext2fs_has_feature_ea_inode(v->fs->super) && inode_entries(v, inode, &list))
    r = scope_tolerate(v->scope, want_value_inodes(v, number, &list));
  uint64_t block = ext2fs_file_acl_block(v->fs, (const struct ext2_inode *)inode);
  return r == 0 && block ? want_attribute_block(v, number, block) : r;
}

int scope_ext4_inline_tail(struct ext4_volume *v, uint32_t number, const struct ext2_inode_large *inode,
                           const uint8_t **ret_data, size_t *ret_length_bytes) {
  struct entries list;
  if (!inode_entries(v, inode, &list))
    return 0;
  struct ext2_ext_attr_entry entry;
  const uint8_t *at = list.first, *name = NULL;
  int r;
  while ((r = next_entry(v, number, &list, &at, &entry, &name)) == 1) {
    if (entry.e_name_index != NAME_INDEX_SYSTEM || entry.e_name_len != 4 || memcmp(name, "data", 4) != 0)
      continue;
    size_t room = (size_t)(list.end - list.base);
    if (entry.e_value_inum || entry.e_value_offs > room || entry.e_value_size > room - entry.e_value_offs)
      return scope_damaged(v->scope, "inode %" PRIu32 ": inline data is damaged", number);
    if (entry.e_value_size) {
      *ret_data = list.base + entry.e_value_offs;
      *ret_length_bytes = entry.e_value_size;
    }
    return 0;
  }
  return r;
}
