/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a hold's operations remove: asked by path, and forgotten in the table. */
#include "providers/files/removed.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_ops(const void *a, const void *b) {
  const struct held_op *x = *(const struct held_op *const *)a, *y = *(const struct held_op *const *)b;
  return path_compare(held_op_path(x), x->path_bytes, held_op_path(y), y->path_bytes);
}

int removed_init(struct removed *r, const struct held *h) {
  *r = (struct removed){0};
  size_t count = 0;
  for (size_t at = 0; at < h->used_bytes; at += held_op_at(h, at)->length_bytes)
    count += held_op_at(h, at)->kind == HELD_REMOVE;
  r->ops = calloc(count + 1, sizeof *r->ops);
  if (!r->ops)
    return -ENOMEM;
  for (size_t at = 0; at < h->used_bytes; at += held_op_at(h, at)->length_bytes)
    if (held_op_at(h, at)->kind == HELD_REMOVE)
      r->ops[r->count++] = held_op_at(h, at);
  if (r->count > 1)
    qsort(r->ops, r->count, sizeof *r->ops, compare_ops);
  return 0;
}

void removed_done(struct removed *r) {
  free(r->ops);
  *r = (struct removed){0};
}

static bool has_exactly(const struct removed *r, const char *path, size_t path_bytes) {
  size_t low = 0, high = r->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct held_op *op = r->ops[middle];
    int order = path_compare(held_op_path(op), op->path_bytes, path, path_bytes);
    if (order == 0)
      return true;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

bool removed_has(const struct removed *r, const char *path, size_t path_bytes) {
  if (r->count == 0)
    return false;
  for (size_t at = 1; at < path_bytes; at++)
    if (path[at] == '/' && has_exactly(r, path, at))
      return true;
  return has_exactly(r, path, path_bytes);
}

static int forget_in_block(const struct removed *r, int table_fd, uint64_t offset_bytes, const uint8_t *block) {
  const struct table_block_head *head = table_block_head(block);
  bool all = removed_has(r, table_block_path(block), head->path_bytes);
  int result = all ? table_mark_unsure(table_fd, offset_bytes, 0) : 0;
  CLEANUP_FREE char *path = malloc((size_t)head->path_bytes + 1 + TABLE_NAME_BYTES_MAX);
  if (!path)
    return -ENOMEM;
  memcpy(path, table_block_path(block), head->path_bytes);
  path[head->path_bytes] = '/';
  size_t name_at = head->path_bytes ? head->path_bytes + 1u : 0;
  struct table_entry e;
  for (uint32_t at = table_block_first(block); result >= 0 && table_block_next(block, &at, &e);) {
    memcpy(path + name_at, e.name, e.head.name_bytes);
    if (all || has_exactly(r, path, name_at + e.head.name_bytes))
      result = table_forget(table_fd, offset_bytes, e.offset_in_block);
  }
  return result;
}

int removed_forget(const struct removed *r, int table_fd, uint8_t *block_buffer) {
  int result = 1;
  for (uint64_t at = table_first_offset(); r->count > 0 && result > 0;
       at += table_block_head(block_buffer)->length_bytes) {
    result = table_read_block(table_fd, at, block_buffer);
    if (result > 0) {
      int forgotten = forget_in_block(r, table_fd, at, block_buffer);
      result = forgotten < 0 ? forgotten : result;
    }
    if (result == 0)
      break;
  }
  return result < 0 ? result : 0;
}
