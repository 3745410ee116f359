/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open-addressing hash table in a file: slots of 32 bytes, linear probing a page at a time, rebuilt twice as large
 * when it is three quarters full.  A slot of zeros is free (places are counted from 1).
 */
#include "backup/link-table.h"

#include "backup/spool.h"
#include "backup/tree-path.h"
#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

struct slot {
  uint64_t device, inode;
  uint64_t place; /* of the path in the path file, plus 1 */
  uint64_t length_bytes;
};

enum { SLOTS_FIRST = 4096, PROBE_SLOTS = 16 };

struct link_table {
  int spool_dir_fd;
  int slot_fd, path_fd;
  uint64_t slots, used, path_bytes;
  char path[TREE_PATH_BYTES_MAX + 1];
};

static int open_slots(struct link_table *t, uint64_t slots, struct umbra_error *err) {
  int fd = spool_open_file(t->spool_dir_fd, err);
  if (fd < 0)
    return fd;
  if (ftruncate(fd, (off_t)(slots * sizeof(struct slot))) < 0) {
    int r = error_errno(err, "making the table of hard links");
    (void)close(fd);
    return r;
  }
  return fd;
}

int link_table_new(int spool_dir_fd, struct link_table **ret, struct umbra_error *err) {
  struct link_table *t = calloc(1, sizeof *t);
  if (!t)
    return error_code(err, -ENOMEM, "making the table of hard links");
  t->spool_dir_fd = spool_dir_fd;
  t->slots = SLOTS_FIRST;
  t->path_fd = -1;
  t->slot_fd = open_slots(t, t->slots, err);
  if (t->slot_fd >= 0)
    t->path_fd = spool_open_file(spool_dir_fd, err);
  if (t->slot_fd < 0 || t->path_fd < 0) {
    int r = t->slot_fd < 0 ? t->slot_fd : t->path_fd;
    link_table_free(t);
    return r;
  }
  *ret = t;
  return 0;
}

void link_table_free(struct link_table *t) {
  if (!t)
    return;
  if (t->slot_fd >= 0)
    (void)close(t->slot_fd);
  if (t->path_fd >= 0)
    (void)close(t->path_fd);
  free(t);
}

/* Finds the slot of (device, inode), or the free one where it belongs. */
static int find(int fd, uint64_t slots, uint64_t device, uint64_t inode, uint64_t *ret_index, struct slot *ret) {
  struct slot probe[PROBE_SLOTS];
  uint64_t key[2] = {device, inode}, index = XXH3_64bits(key, sizeof key) & (slots - 1);
  for (;;) {
    uint64_t count = slots - index < PROBE_SLOTS ? slots - index : PROBE_SLOTS;
    int r = fd_pread_all(fd, probe, count * sizeof *probe, index * sizeof *probe);
    if (r < 0)
      return r;
    for (uint64_t i = 0; i < count; i++)
      if (probe[i].place == 0 || (probe[i].device == device && probe[i].inode == inode)) {
        *ret_index = index + i;
        *ret = probe[i];
        return 0;
      }
    index = (index + count) & (slots - 1);
  }
}

static int grow(struct link_table *t, struct umbra_error *err) {
  CLEANUP_CLOSE int larger = open_slots(t, 2 * t->slots, err);
  if (larger < 0)
    return larger;
  struct slot block[256];
  for (uint64_t at = 0; at < t->slots; at += sizeof block / sizeof *block) {
    int r = fd_pread_all(t->slot_fd, block, sizeof block, at * sizeof *block);
    for (size_t i = 0; r == 0 && i < sizeof block / sizeof *block; i++) {
      uint64_t index = 0;
      struct slot unused;
      if (block[i].place == 0)
        continue;
      r = find(larger, 2 * t->slots, block[i].device, block[i].inode, &index, &unused);
      if (r == 0)
        r = fd_pwrite_all(larger, &block[i], sizeof *block, index * sizeof *block);
    }
    if (r < 0)
      return error_code(err, r, "enlarging the table of hard links");
  }
  (void)close(t->slot_fd);
  t->slot_fd = take_fd(&larger);
  t->slots *= 2;
  return 0;
}

static int insert(struct link_table *t, struct slot slot, uint64_t index, const char *path, struct umbra_error *err) {
  slot.length_bytes = strlen(path);
  slot.place = t->path_bytes + 1;
  int r = fd_pwrite_all(t->path_fd, path, slot.length_bytes, t->path_bytes);
  if (r == 0)
    r = fd_pwrite_all(t->slot_fd, &slot, sizeof slot, index * sizeof slot);
  if (r < 0)
    return error_code(err, r, "writing the table of hard links");
  t->path_bytes += slot.length_bytes;
  t->used++;
  return t->used > t->slots / 4 * 3 ? grow(t, err) : 0;
}

int link_table_add(struct link_table *t, uint64_t device, uint64_t inode, const char *path, const char **ret,
                   struct umbra_error *err) {
  uint64_t index = 0;
  struct slot slot;
  int r = find(t->slot_fd, t->slots, device, inode, &index, &slot);
  if (r < 0)
    return error_code(err, r, "reading the table of hard links");
  if (slot.place == 0)
    return insert(t, (struct slot){.device = device, .inode = inode}, index, path, err);
  r = fd_pread_all(t->path_fd, t->path, slot.length_bytes, slot.place - 1);
  if (r < 0)
    return error_code(err, r, "reading the table of hard links");
  t->path[slot.length_bytes] = '\0';
  *ret = t->path;
  return 1;
}
