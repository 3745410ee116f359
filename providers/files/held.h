/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is read while the volume is held: a list of operations, in memory that was made before, that turn the copy
 * into the tree as it is at the instant.  held_take() runs under the hold and allocates nothing; held_apply() writes
 * it out afterwards.
 */
#ifndef PROVIDERS_FILES_HELD_H
#define PROVIDERS_FILES_HELD_H

#include "common/error.h"
#include "providers/files/look.h"
#include "providers/files/walk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
  HELD_BYTES_MIN = 8 * 1024 * 1024,
  HELD_BYTES_MAX = 256 * 1024 * 1024, /* what may be read under the hold, names and attributes included */
  HELD_LINKS_MAX = 16384,             /* files with several names among it */
  HELD_MS_MAX = 6000,                 /* give up reading before the hold's own limit does */
};

enum held_kind { HELD_REMOVE, HELD_DIRECTORY, HELD_FILE /* anything but a directory */ };

struct held_op {
  uint64_t length_bytes; /* of the whole operation, a multiple of eight */
  uint64_t link_to; /* of a file read before under another name: the offset of that operation, plus one; else 0 */
  uint32_t path_bytes, attribute_bytes, target_bytes;
  uint8_t kind;
  bool in_place; /* the copy is of the same inode: only what differs is here */
  int64_t looked_ns;
  struct statx sx;
  /* path, attributes, target of a symlink, padding; then pieces */
};

/* A piece of data; of zeros when has_data is false. Padded to eight bytes. */
struct held_piece {
  uint64_t offset_bytes, length_bytes;
  uint64_t has_data;
};

struct held_link {
  uint64_t inode, device, op_offset_plus_one;
};

/* A name in the copy of a file that an operation would make anew (rejoin.c). */
struct held_other {
  size_t op_offset;
  char *path;
  size_t path_bytes;
};

struct held {
  struct walk *walk;
  int table_fd;
  int raw_fd;     /* raw.h; -1: none */
  bool reads_raw; /* the file under way */
  uint8_t *memory;
  size_t size_bytes, used_bytes;
  size_t scratch_bytes;    /* in use at the upper end: names of directories under way */
  struct held_link *links; /* HELD_LINKS_MAX, hashed */
  size_t links_count;
  struct held_other *others;
  size_t others_count;
  int64_t deadline_ns;
  char *path; /* TABLE_PATH_BYTES_MAX + 1 */
  size_t path_bytes;
  unsigned depth;
  size_t failed_bytes; /* what did not fit, about: for the next try */
};

/* Makes the memory, of size_bytes, locked and there. */
int held_init(struct held *h, struct walk *walk, int table_fd, int raw_fd, size_t size_bytes);
void held_done(struct held *h);

/*
 * Reads what the look found. 0; -EAGAIN: it does not fit, or takes too long (message says which); other negative
 * errno. Starts anew each time.
 */
int held_take(struct held *h, const struct look *look, struct umbra_error *err);

/* Is all that was read still as it was, beyond doubt? For volumes that cannot be frozen. */
bool held_is_still(struct held *h, int64_t grain_ns);

/*
 * Finds the files among what was read that the copy has already, under a name that did not change: they are linked to
 * it and not made anew. Between held_take() and held_apply(). held_other_of(): NULL if there is none.
 */
struct removed;
int held_find_others(struct held *h, const struct removed *removed, struct umbra_error *err);
const struct held_other *held_other_of(const struct held *h, size_t op_offset);

/* Writes it into the copy. removed: of these operations. */
int held_apply(struct held *h, const struct removed *removed, struct umbra_error *err);

static inline struct held_op *held_op_at(const struct held *h, size_t offset) {
  return (struct held_op *)(void *)(h->memory + offset);
}
static inline const char *held_op_path(const struct held_op *op) { return (const char *)(op + 1); }
static inline const char *held_op_attributes(const struct held_op *op) { return held_op_path(op) + op->path_bytes; }
static inline const char *held_op_target(const struct held_op *op) {
  return held_op_attributes(op) + op->attribute_bytes;
}
static inline size_t held_op_pieces(const struct held_op *op) {
  return (sizeof *op + op->path_bytes + op->attribute_bytes + op->target_bytes + 7) & ~(size_t)7;
}

#endif
