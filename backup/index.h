/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The index of a backup: one record a path, in tree order, with what an incremental backup compares, the checksums,
 * and where the file's data lie.  Read and written as streams; nothing is kept but the record at hand.  The bytes are
 * in docs/BACKUP-FORMAT.md.
 *
 * An index tells the whole state of the tree at its instant, not only what changed: `position` says which backup of
 * the chain (0: the full one) has a path's member in its archive.
 */
#ifndef BACKUP_INDEX_H
#define BACKUP_INDEX_H

#include "backup/digest.h"
#include "backup/tree-path.h"
#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

enum {
  INDEX_VERSION = 1,
  INDEX_RECORD_BYTES_MAX = 2 * TREE_PATH_BYTES_MAX + 1024,
  INDEX_CHAIN_MAX = 10000,
};

enum index_kind {
  INDEX_DIRECTORY = 'd',
  INDEX_FILE = 'f',
  INDEX_SYMLINK = 'l',
  INDEX_HARD_LINK = 'h', /* to a path that comes earlier: `target` */
  INDEX_FIFO = 'p',
  INDEX_CHARACTER = 'c',
  INDEX_BLOCK = 'b',
  INDEX_DELETED = 'x', /* was there in the base backup; only the path counts */
};

struct index_record {
  char path[TREE_PATH_BYTES_MAX + 1];
  char target[TREE_PATH_BYTES_MAX + 1]; /* of symbolic and hard links, else "" */
  enum index_kind kind;
  bool sparse; /* content is the checksum of data extents and their map */
  uint32_t mode, uid, gid;
  uint32_t device_major, device_minor; /* of device nodes */
  uint64_t size_bytes, inode, links;
  struct timespec modified, changed;
  uint32_t position;      /* which backup of the chain has the member; hard links: this one when new */
  uint64_t offset_bytes;  /* of the member in that backup's uncompressed archive */
  struct digest metadata; /* of owner, mode, times, attributes, target: metadata.h */
  struct digest content;  /* INDEX_FILE */
};

/* Tells if something starts a restore: it has a member of its own. */
static inline bool index_kind_stored(enum index_kind kind) {
  return kind != INDEX_HARD_LINK && kind != INDEX_DELETED;
}

struct index_header {
  uint32_t position;          /* of this backup in its chain */
  struct timespec racy_after; /* files changed later than this may have changed again unnoticed */
};

/* ---- writing ---- */
struct index_writer;
int index_writer_new(int fd, const struct index_header *header, struct index_writer **ret, struct umbra_error *err);
int index_writer_add(struct index_writer *w, const struct index_record *record, struct umbra_error *err);
int index_writer_finish(struct index_writer *w, uint64_t *ret_records, struct umbra_error *err);
void index_writer_free(struct index_writer *w);

/* ---- reading ---- */
struct index_reader;

/* fill: up to capacity bytes of the uncompressed stream; 0 at its end, negative errno with err set. */
typedef ssize_t (*index_fill)(void *userdata, void *buffer, size_t capacity_bytes, struct umbra_error *err);

int index_reader_new(index_fill fill, void *userdata, struct index_reader **ret, struct umbra_error *err);

/* Reads the file (zstd) through fd, which stays the caller's. name is for messages. */
int index_reader_open(int fd, const char *name, struct index_reader **ret, struct umbra_error *err);
void index_reader_free(struct index_reader *r);

const struct index_header *index_reader_header(const struct index_reader *r);

/*
 * 1: *ret is the next record, the reader's until the next call; 0: the end, and its checksum was right; negative:
 * damaged or not readable.
 */
int index_reader_next(struct index_reader *r, const struct index_record **ret, struct umbra_error *err);

#endif
