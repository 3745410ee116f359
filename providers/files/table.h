/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table: what the copy was made from, a record a file, in one file of the store.  It is read and written from
 * front to back, so that memory does not grow with the number of files, and read at any place while the volume is
 * held.
 *
 * A table is a header and then blocks in walk order (scope.h).  A block is a directory and some of its entries,
 * sorted by the bytes of their names; a directory with many has several blocks in a row.  Block: struct
 * table_block_head, the path, then for each entry a struct table_entry_head and its name.  Numbers are in the
 * machine's byte order (the magic number tells a stranger's).  A table that is opened is checked as a whole against
 * its length and checksum, and each block again while it is read: nothing in it is trusted.
 */
#ifndef PROVIDERS_FILES_TABLE_H
#define PROVIDERS_FILES_TABLE_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  TABLE_NAME_BYTES_MAX = 255,
  TABLE_PATH_BYTES_MAX = 60000,
  TABLE_BLOCK_BYTES_GOAL = 64 * 1024, /* a block is closed once it is this long */
  TABLE_START_BYTES = 32 * 1024,
  TABLE_BLOCK_BYTES_MAX = TABLE_BLOCK_BYTES_GOAL + TABLE_PATH_BYTES_MAX + 512,
};

/* Flags of an entry and of a directory. The low four bits of an entry's are its type, as in S_IFMT >> 12. */
enum {
  TABLE_TYPE_MASK = 0x0f,
  TABLE_UNSURE = 0x10,    /* may have changed since its copy without showing it: counts as changed */
  TABLE_LINKED = 0x20,    /* has several names */
  TABLE_CLONED = 0x40,    /* of an entry: shares its blocks with the live file */
  TABLE_CONTINUED = 0x40, /* of a block: the same directory as the one before */
  TABLE_WAY = 0x80,       /* of a directory: only on the way to something wanted, so its entries are not all here */
};

struct table_block_head {
  uint32_t length_bytes; /* of the whole block */
  uint32_t entry_count;
  uint64_t inode;
  int64_t ctime_ns, mtime_ns;
  uint16_t path_bytes;
  uint8_t flags;
  uint8_t unused[5];
};

struct table_entry_head {
  uint64_t inode;
  uint64_t size_bytes;
  int64_t ctime_ns, mtime_ns;
  uint8_t flags;
  uint8_t name_bytes;
} __attribute__((packed));

/* Which volume and scope a table is of; compared as a whole. */
struct table_identity {
  uint64_t low, high;
};

/* What stands in the header about the whole. */
struct table_totals {
  uint64_t files, directories; /* entries that are no directory; directories */
  uint64_t stored_bytes;       /* what the copy takes, about: allocated bytes of files that were not cloned */
};

/* ---- writing ---- */
struct table_writer {
  int fd;
  uint64_t offset_bytes; /* where the block under way will begin */
  uint8_t *block;        /* the block under way */
  uint32_t used_bytes, last_entry_bytes;
  uint8_t *buffer; /* whole blocks on their way to the file */
  uint32_t buffered_bytes;
  struct table_totals totals;
  uint64_t *starts; /* offsets of blocks, every TABLE_START_BYTES or so: where threads can begin to read */
  size_t starts_count;
};

/* fd: an empty file, open for reading and writing; stays the caller's. The caller may take w->starts (free() it). */
int table_writer_init(struct table_writer *w, int fd);
void table_writer_done(struct table_writer *w);

/* Begins the block of a directory. head's length, count and path length are filled in. */
int table_writer_begin(struct table_writer *w, const struct table_block_head *head, const char *path,
                       size_t path_bytes);
/* Adds an entry; begins a further block if this one is full. */
int table_writer_add(struct table_writer *w, const struct table_entry_head *entry, const char *name);
int table_writer_end(struct table_writer *w);
/* Writes out what is buffered. The table is complete for reading, but has no valid header. */
int table_writer_flush(struct table_writer *w);

/* ---- the whole ---- */
/* Writes a valid header (checksum of everything behind it). */
int table_seal(int fd, const struct table_identity *identity, const struct table_totals *totals);

/* Checks header, length and checksum. -EBADMSG with the reason in words if it is not a table of this identity. */
int table_check(int fd, const struct table_identity *identity, struct table_totals *ret_totals,
                struct umbra_error *err);

uint64_t table_first_offset(void);

/* ---- reading ---- */
struct table_entry {
  struct table_entry_head head;
  const char *name; /* not terminated: head.name_bytes long */
  uint32_t offset_in_block;
};

/*
 * Reads and checks the block at offset into buffer (TABLE_BLOCK_BYTES_MAX long). 1: read; 0: there is none, the table
 * ends here; -EBADMSG; other negative errno. Allocates nothing.
 */
int table_read_block(int fd, uint64_t offset_bytes, uint8_t *buffer);

static inline const struct table_block_head *table_block_head(const uint8_t *block) {
  return (const struct table_block_head *)(const void *)block;
}
static inline const char *table_block_path(const uint8_t *block) {
  return (const char *)block + sizeof(struct table_block_head);
}
static inline uint32_t table_block_first(const uint8_t *block) {
  return (uint32_t)sizeof(struct table_block_head) + table_block_head(block)->path_bytes;
}

/* The entry at *offset_in_block, which moves on to the next. False at the end of the block. */
bool table_block_next(const uint8_t *block, uint32_t *offset_in_block, struct table_entry *ret);

/* Marks the entry at offset_in_block of the block at offset (0: the directory) as TABLE_UNSURE in the file. */
int table_mark_unsure(int fd, uint64_t offset_bytes, uint32_t offset_in_block);

/* The copy has nothing of this entry any more: unsure, and of no inode. */
int table_forget(int fd, uint64_t offset_bytes, uint32_t offset_in_block);

/* Front-to-back reader: directory by directory, entry by entry. */
struct table_reader {
  int fd; /* -1: an empty table */
  uint64_t offset_bytes;
  uint8_t *block;
  bool valid; /* a block is there */
  uint32_t at;
  char *last_path; /* order is checked: each directory after the one before */
  uint32_t last_path_bytes;
};
int table_reader_init(struct table_reader *r, int fd);
void table_reader_done(struct table_reader *r);

/*
 * Moves to the directory path, over those before it. 1: it is there, its block is r->block and table_reader_next()
 * gives its entries; 0: there is none. Paths must come in walk order.
 */
int table_reader_seek(struct table_reader *r, const char *path, size_t path_bytes);
/* 1: an entry (its name is valid until the next call); 0: no more. */
int table_reader_next(struct table_reader *r, struct table_entry *ret);

#endif
