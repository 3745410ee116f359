/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first name of each file that has several: an open-addressing table from (device, inode) to a place in the
 * table. */
#include "providers/files/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void links_clear(struct links *l) {
  free(l->slots);
  *l = (struct links){0};
}

static struct link_slot *place(const struct links *l, uint64_t device, uint64_t inode) {
  uint64_t hash = (inode ^ device << 40) * UINT64_C(0x9e3779b97f4a7c15);
  for (size_t i = hash >> 20 & (l->size - 1);; i = (i + 1) & (l->size - 1)) {
    struct link_slot *slot = &l->slots[i];
    if (slot->block_offset_bytes == 0 || (slot->inode == inode && slot->device == device))
      return slot;
  }
}

static int grow(struct links *l) {
  struct links larger = {.size = l->size ? l->size * 2 : 256};
  larger.slots = calloc(larger.size, sizeof *larger.slots);
  if (!larger.slots)
    return -ENOMEM;
  for (size_t i = 0; i < l->size; i++)
    if (l->slots[i].block_offset_bytes)
      *place(&larger, l->slots[i].device, l->slots[i].inode) = l->slots[i];
  larger.count = l->count;
  free(l->slots);
  *l = larger;
  return 0;
}

int links_add(struct links *l, uint64_t device, uint64_t inode, const struct table_writer *w) {
  if (l->count * 4 >= l->size * 3 && grow(l) < 0)
    return -ENOMEM;
  struct link_slot *slot = place(l, device, inode);
  if (slot->block_offset_bytes == 0)
    l->count++;
  *slot = (struct link_slot){
      .inode = inode, .device = device, .block_offset_bytes = w->offset_bytes, .entry_offset = w->last_entry_bytes};
  return 0;
}

const struct link_slot *links_find(const struct links *l, uint64_t device, uint64_t inode) {
  if (l->size == 0)
    return NULL;
  const struct link_slot *slot = place(l, device, inode);
  return slot->block_offset_bytes ? slot : NULL;
}

int links_path(const struct link_slot *slot, struct table_writer *w, uint8_t *buffer, const char **ret_path,
               size_t *ret_path_bytes) {
  const uint8_t *block = buffer;
  if (slot->block_offset_bytes == w->offset_bytes)
    block = w->block; /* still under way */
  else {
    int r = w->buffered_bytes ? table_writer_flush(w) : 0;
    if (r >= 0)
      r = table_read_block(w->fd, slot->block_offset_bytes, buffer);
    if (r <= 0)
      return r < 0 ? r : -EBADMSG;
  }
  struct table_entry_head head;
  memcpy(&head, block + slot->entry_offset, sizeof head);
  const char *name = (const char *)block + slot->entry_offset + sizeof head;
  size_t path_bytes = table_block_head(block)->path_bytes;
  /* The block may lie in the buffer itself: the name is saved before the path moves to its front. */
  char joined_name[TABLE_NAME_BYTES_MAX];
  memcpy(joined_name, name, head.name_bytes);
  char *path = (char *)buffer;
  memmove(path, table_block_path(block), path_bytes);
  if (path_bytes > 0)
    path[path_bytes++] = '/';
  memcpy(path + path_bytes, joined_name, head.name_bytes);
  *ret_path = path;
  *ret_path_bytes = path_bytes + head.name_bytes;
  return 0;
}
