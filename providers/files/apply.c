/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes what was read under the hold into the copy, in the order in which it was read: the removal of a name comes
 * before what takes its place.  Making and removing names sets the modification time of their directory in the copy:
 * it is put back each time, and the directories whose names changed in the live tree get their own time last.
 */
#include "providers/files/held.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "providers/files/entry.h"
#include "providers/files/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Where an operation's file is in the copy. */
struct target {
  int parent_fd;
  char name[TABLE_NAME_BYTES_MAX + 1]; /* "": the root */
  struct stat parent;                  /* as it was before */
};

static int open_path(const struct held *h, const char *path, size_t path_bytes, struct target *ret) {
  const char *name;
  ret->parent_fd = tree_open_parent(h->walk->copy_fd, path, path_bytes, &name);
  if (ret->parent_fd < 0)
    return ret->parent_fd;
  size_t length = path_bytes - (size_t)(name - path);
  memcpy(ret->name, name, length);
  ret->name[length] = 0;
  return fstatat(ret->parent_fd, "", &ret->parent, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int open_target(const struct held *h, const struct held_op *op, struct target *ret) {
  return open_path(h, held_op_path(op), op->path_bytes, ret);
}

static void close_target(struct target *t) {
  if (t->parent_fd < 0)
    return;
  struct timespec mtime = t->parent.st_mtim;
  (void)attributes_set_mtime(t->parent_fd, "",
                             (struct statx_timestamp){.tv_sec = mtime.tv_sec, .tv_nsec = (uint32_t)mtime.tv_nsec});
  (void)close(t->parent_fd);
}

static int count_storage(struct walk *w, uint64_t bytes, struct umbra_error *err) {
  w->totals.stored_bytes += bytes;
  if (w->copier.limit_bytes && w->totals.stored_bytes > w->copier.limit_bytes)
    return error_set(err, -EDQUOT, UMBRA_REASON_STORAGE, "the storage limit of %llu bytes is reached",
                     (unsigned long long)w->copier.limit_bytes);
  return 0;
}

static int write_pieces(struct walk *w, const struct held_op *op, int fd, struct umbra_error *err) {
  const char *base = (const char *)op;
  for (size_t at = held_op_pieces(op); at < op->length_bytes;) {
    const struct held_piece *piece = (const struct held_piece *)(const void *)(base + at);
    at += sizeof *piece;
    if (!piece->has_data) {
      if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)piece->offset_bytes,
                    (off_t)piece->length_bytes) < 0)
        return error_errno(err, "making a hole in the storage");
      continue;
    }
    int r = fd_pwrite_all(fd, piece + 1, piece->length_bytes, piece->offset_bytes);
    if (r < 0)
      return error_code(err, r, "writing to the storage");
    r = op->in_place ? 0 : count_storage(w, piece->length_bytes, err);
    if (r < 0)
      return r;
    at += (piece->length_bytes + 7) & ~UINT64_C(7);
  }
  return ftruncate(fd, (off_t)op->sx.stx_size) < 0 ? error_errno(err, "giving it its length in the storage") : 0;
}

/* Makes the target a further name of what the copy has at path. */
static int apply_link(const struct held *h, const char *path, size_t path_bytes, const struct target *t,
                      struct umbra_error *err) {
  struct target first = {.parent_fd = -1};
  int r = open_path(h, path, path_bytes, &first);
  if (r < 0)
    return error_code(err, r, "opening the directory of its other name in the storage");
  struct stat mine, theirs;
  if (fstatat(first.parent_fd, first.name, &theirs, AT_SYMLINK_NOFOLLOW) < 0)
    r = error_errno(err, "looking at its other name in the storage");
  else if (fstatat(t->parent_fd, t->name, &mine, AT_SYMLINK_NOFOLLOW) < 0 || mine.st_ino != theirs.st_ino) {
    r = fd_remove_tree(t->parent_fd, t->name);
    if (r < 0)
      (void)error_code(err, r, "removing its old copy");
    else if (linkat(first.parent_fd, first.name, t->parent_fd, t->name, 0) < 0)
      r = error_errno(err, "linking it to its other name in the storage");
  }
  close_target(&first);
  return r;
}

static int apply_file(struct held *h, const struct held_op *op, const struct target *t, struct umbra_error *err) {
  struct walk *w = h->walk;
  int r;
  if (op->link_to) {
    const struct held_op *first = held_op_at(h, op->link_to - 1);
    return apply_link(h, held_op_path(first), first->path_bytes, t, err);
  }
  const struct held_other *other =
      op->in_place || op->sx.stx_nlink < 2 ? NULL : held_other_of(h, (size_t)((const uint8_t *)op - h->memory));
  if (other)
    return apply_link(h, other->path, other->path_bytes, t, err);
  if (!op->in_place && (r = fd_remove_tree(t->parent_fd, t->name)) < 0)
    return error_code(err, r, "removing its old copy");
  if (S_ISREG(op->sx.stx_mode)) {
    CLEANUP_CLOSE int fd =
        openat(t->parent_fd, t->name,
               O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (op->in_place ? 0 : O_CREAT | O_EXCL), 0600);
    if (fd < 0)
      return error_errno(err, "making it in the storage");
    r = write_pieces(w, op, fd, err);
  } else
    r = entry_make_special(t->parent_fd, t->name, &op->sx, held_op_target(op), err);
  return r < 0 ? r
               : attributes_apply(&w->room, t->parent_fd, t->name, &op->sx, held_op_attributes(op),
                                  op->attribute_bytes, err);
}

static int apply_one(struct held *h, const struct held_op *op, struct umbra_error *err) {
  struct target t = {.parent_fd = -1};
  int r = open_target(h, op, &t);
  if (r == -ENOENT && op->kind == HELD_REMOVE)
    return 0; /* below something that is removed already */
  if (r < 0)
    return error_code(err, r, "opening its directory in the storage");
  if (op->kind == HELD_REMOVE)
    r = fd_remove_tree(t.parent_fd, t.name) < 0 ? error_errno(err, "removing its copy") : 0;
  else if (op->kind == HELD_FILE)
    r = apply_file(h, op, &t, err);
  else if (*t.name && mkdirat(t.parent_fd, t.name, 0700) < 0 && errno != EEXIST)
    r = error_errno(err, "making the directory in the storage");
  close_target(&t);
  return r;
}

static int apply_directory(struct held *h, const struct held_op *op, struct umbra_error *err) {
  struct target t = {.parent_fd = -1};
  int r = open_target(h, op, &t);
  if (r < 0)
    return error_code(err, r, "opening its directory in the storage");
  r = attributes_apply(&h->walk->room, t.parent_fd, t.name, &op->sx, held_op_attributes(op), op->attribute_bytes,
                       err);
  (void)close(t.parent_fd);
  return r;
}

int held_apply(struct held *h, const struct removed *removed, struct umbra_error *err) {
  int found = h->links_count > 0 ? held_find_others(h, removed, err) : 0;
  if (found < 0)
    return found;
  for (int pass = 0; pass < 2; pass++)
    for (size_t at = 0; at < h->used_bytes; at += held_op_at(h, at)->length_bytes) {
      const struct held_op *op = held_op_at(h, at);
      int r = pass == 0 ? apply_one(h, op, err) : op->kind == HELD_DIRECTORY ? apply_directory(h, op, err) : 0;
      if (r < 0)
        return error_prefix(err, r, "writing '%.*s'", (int)op->path_bytes, held_op_path(op));
    }
  return 0;
}
