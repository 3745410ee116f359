/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where old chunks are kept: slots in a file or device elsewhere, or in extents of the volume itself that are written below its
 * filesystem.  Segments of COW_SEGMENT_BYTES, each with its own table of records, are added until the limit.  docs/ONDISK.md is the format.
 *
 * Volatile use costs no flush and writes no records; what must outlive a server then lies in the engine's arena.
 */
#ifndef COW_STORAGE_H
#define COW_STORAGE_H

#include "common/error.h"
#include "cow/geometry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cow_storage;

enum { COW_SEGMENT_BYTES = 64 << 20, COW_STORAGE_WARN_PERCENT = 80, COW_EXTENTS_MAX = 65536 };

/* The linear room of a storage, in order. Outside: one extent that covers the file or device. Inside: FIEMAP's of the reserved file. */
struct cow_extent {
  uint64_t offset_bytes, length_bytes;
};

struct cow_storage_options {
  int fd;                      /* O_RDWR | O_DIRECT; borrowed. Inside: the origin's */
  const struct cow_extent *extents; /* copied */
  size_t extent_count;
  bool growable;               /* a file elsewhere: storage appends a segment with fallocate when it needs one */
  uint64_t limit_bytes;        /* 0: none but the extents' (growable: the volume's size) */
  struct cow_geometry geometry;
  uint8_t volume_uuid[16];     /* which attached volume it belongs to */
};

/* Writes a new, empty storage. Whatever was there is gone. */
int cow_storage_format(const struct cow_storage_options *options, struct umbra_error *err);
/* -EUCLEAN: not one, damaged, of another volume or version; the message says which. Recovery follows in cow_engine_open(). */
int cow_storage_open(const struct cow_storage_options *options, struct cow_storage **ret, struct umbra_error *err);
/* clean: everything is durable and marked so. */
int cow_storage_close(struct cow_storage *s, bool clean, struct umbra_error *err);

/* More extents (inside, after the reserved file grew). */
int cow_storage_add_extent(struct cow_storage *s, struct cow_extent extent, struct umbra_error *err);

/*
 * Slots. get: up to count_max in a row, at least one; -ENOSPC when the limit is reached and nothing is free. Growth happens here and
 * in advance in the background; it never waits for the volume itself. put: memory only.
 */
int cow_storage_get(struct cow_storage *s, uint32_t count_max, uint32_t *ret_first, uint32_t *ret_count);
void cow_storage_put(struct cow_storage *s, uint32_t slot);
uint32_t cow_storage_slot_count(const struct cow_storage *s); /* slots that exist; rises only */
void cow_storage_claim(struct cow_storage *s, uint32_t slot);  /* at start: in use, by the arena's or the table's word */

/* Whole slots, count in a row; read also parts, within one slot. Any thread. */
int cow_storage_write(struct cow_storage *s, uint32_t first, uint32_t count, const void *buffer);
int cow_storage_read(struct cow_storage *s, uint32_t slot, uint32_t offset_bytes, void *buffer, size_t length_bytes);

/*
 * Durable records. commit returns when the slots' data and their records are durable; callers at the same time share a flush.
 * data: what was written, for the checksums.
 */
struct cow_record {
  uint64_t chunk;
  uint32_t epoch;
  uint32_t slot;
};
int cow_storage_commit(struct cow_storage *s, const struct cow_record *records, size_t count, const void *data);
/* Calls for each record that is whole (checksums; those of the last group with their data), once, at start. */
int cow_storage_recover(struct cow_storage *s, int (*visit)(const struct cow_record *record, void *context), void *context,
                        struct umbra_error *err);

/* The table of persistent shadow copies: replaced as a whole, durable on return (two copies, the newer whole one counts). */
struct cow_shadow_record {
  char id[37];
  uint32_t number;
  int64_t created_ns;
  bool read_write, deleting;
};
int cow_storage_save_shadows(struct cow_storage *s, const struct cow_shadow_record *records, size_t count, uint32_t next_number,
                             const char *reverting, struct umbra_error *err); /* reverting: an id, or NULL */
int cow_storage_load_shadows(struct cow_storage *s, struct cow_shadow_record *records, size_t count_max, size_t *ret_count,
                             uint32_t *ret_next_number, char ret_reverting[37], struct umbra_error *err);

/* What of a persistent past is kept beside entries (changed maps), as blobs: by number, checksummed, replaced as a whole. */
int cow_storage_save_blob(struct cow_storage *s, uint32_t number, const void *data, size_t length_bytes, struct umbra_error *err);
int cow_storage_load_blob(struct cow_storage *s, uint32_t number, void **ret, size_t *ret_length_bytes, struct umbra_error *err);
int cow_storage_remove_blob(struct cow_storage *s, uint32_t number, struct umbra_error *err);

/* Was the last close clean? */
bool cow_storage_was_clean(const struct cow_storage *s);

/* The witness (witness.c): opaque bytes about the origin, durable on return, checked at attach. */
enum { COW_WITNESS_BYTES_MAX = 512 };
int cow_storage_save_witness(struct cow_storage *s, const void *data, size_t length_bytes, struct umbra_error *err);
int cow_storage_load_witness(struct cow_storage *s, void *data, size_t length_max, size_t *ret_length_bytes,
                             struct umbra_error *err);

struct cow_storage_status {
  uint64_t used_bytes, bytes, limit_bytes;
  bool over_warning;
};
void cow_storage_status(struct cow_storage *s, struct cow_storage_status *ret);

#endif
