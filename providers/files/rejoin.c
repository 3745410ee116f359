/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names that join a file which the copy already has.  When a directory is renamed right before the hold, what is in
 * it is read as new; a file in it that has another name elsewhere did not change, and neither did that name.  Its
 * copy is found in the table, so that the new name becomes a link to it and not a second file.
 */
#include "providers/files/held.h"

#include "common/cleanup.h"
#include "providers/files/removed.h"
#include "providers/files/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file that is read as new and has several names. */
struct wanted {
  uint64_t inode;
  size_t op_offset;
};

static int compare_wanted(const void *a, const void *b) {
  uint64_t x = ((const struct wanted *)a)->inode, y = ((const struct wanted *)b)->inode;
  return x < y ? -1 : x > y;
}

static struct wanted *list_wanted(const struct held *h, size_t *ret_count) {
  struct wanted *list = calloc(h->links_count + 1, sizeof *list);
  *ret_count = 0;
  for (size_t i = 0; list && i < HELD_LINKS_MAX; i++) {
    if (h->links[i].op_offset_plus_one == 0)
      continue;
    size_t op_offset = h->links[i].op_offset_plus_one - 1;
    if (!held_op_at(h, op_offset)->in_place)
      list[(*ret_count)++] = (struct wanted){.inode = h->links[i].inode, .op_offset = op_offset};
  }
  if (list)
    qsort(list, *ret_count, sizeof *list, compare_wanted);
  return list;
}

/* Inode numbers are unique within a device only, and btrfs snapshots share times as well: the live name says which
 * device. */
static bool is_on_device(const struct held *h, const char *path, size_t path_bytes, const struct statx *file) {
  const char *name;
  struct statx sx;
  CLEANUP_CLOSE int parent = tree_open_parent(h->walk->live_fd, path, path_bytes, &name);
  return parent >= 0 && tree_stat(parent, name, &sx) == 0 && sx.stx_ino == file->stx_ino &&
         tree_device(&sx) == tree_device(file);
}

static int add_other(struct held *h, const struct removed *removed, size_t op_offset, const uint8_t *block,
                     const struct table_entry *e) {
  size_t directory_bytes = table_block_head(block)->path_bytes, separator = directory_bytes > 0;
  size_t path_bytes = directory_bytes + separator + e->head.name_bytes;
  char *path = malloc(path_bytes + 1);
  if (!path)
    return -ENOMEM;
  memcpy(path, table_block_path(block), directory_bytes);
  path[directory_bytes] = '/';
  memcpy(path + directory_bytes + separator, e->name, e->head.name_bytes);
  path[path_bytes] = 0;
  if (removed_has(removed, path, path_bytes) || !is_on_device(h, path, path_bytes, &held_op_at(h, op_offset)->sx)) {
    free(path);
    return 0;
  }
  struct held_other *larger = realloc(h->others, (h->others_count + 1) * sizeof *larger);
  if (!larger) {
    free(path);
    return -ENOMEM;
  }
  h->others = larger;
  h->others[h->others_count++] = (struct held_other){.op_offset = op_offset, .path = path, .path_bytes = path_bytes};
  return 0;
}

/* The entries of one block that are names of wanted files. */
static int match_block(struct held *h, const struct removed *removed, const uint8_t *block, const struct wanted *list,
                       size_t count) {
  struct table_entry e;
  for (uint32_t at = table_block_first(block); table_block_next(block, &at, &e);) {
    if (!(e.head.flags & TABLE_LINKED) || e.head.flags & TABLE_UNSURE)
      continue;
    const struct wanted key = {.inode = e.head.inode};
    const struct wanted *found = bsearch(&key, list, count, sizeof *list, compare_wanted);
    /* Unchanged to the nanosecond: it is the same file, and its copy is right. */
    if (!found || !walk_is_same(&e.head, &held_op_at(h, found->op_offset)->sx) || held_other_of(h, found->op_offset))
      continue;
    int r = add_other(h, removed, found->op_offset, block, &e);
    if (r < 0)
      return r;
  }
  return 0;
}

const struct held_other *held_other_of(const struct held *h, size_t op_offset) {
  for (size_t i = 0; i < h->others_count; i++)
    if (h->others[i].op_offset == op_offset)
      return &h->others[i];
  return NULL;
}

int held_find_others(struct held *h, const struct removed *removed, struct umbra_error *err) {
  size_t count;
  struct wanted *list = list_wanted(h, &count);
  int r = list ? 1 : -ENOMEM;
  uint8_t *block = h->walk->block_buffer;
  for (uint64_t at = table_first_offset(); r > 0 && count > 0; at += table_block_head(block)->length_bytes) {
    r = table_read_block(h->table_fd, at, block);
    if (r > 0) {
      int matched = match_block(h, removed, block, list, count);
      r = matched < 0 ? matched : r;
    }
    if (r == 0)
      break;
  }
  free(list);
  return r < 0 ? error_code(err, r, "looking for other names of files in the table of the copy") : 0;
}
