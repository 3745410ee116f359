/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What persistent storage looks like on disk, byte by byte: docs/ONDISK.md.  Encoding and decoding only, no I/O. What
 * is decoded comes from a disk that may be damaged or somebody's: everything is checked here, nothing is trusted that
 * its checksum does not cover.
 *
 *     superblock 0, superblock 1, table of shadow copies, key cells (one a slot, then those of holes), slots
 */
#ifndef COW_ONDISK_H
#define COW_ONDISK_H

#include "cow/geometry.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  COW_DISK_VERSION = 2,        /* 1 had no holes */
  COW_DISK_BLOCK_BYTES = 4096, /* what is read and written as one */
  COW_DISK_SUPERS = 2,
  COW_DISK_RECORD_BYTES = 256,
  COW_DISK_BLOCK_RECORDS = COW_DISK_BLOCK_BYTES / COW_DISK_RECORD_BYTES,
  COW_DISK_CELL_BYTES = 32,
  COW_DISK_BLOCK_CELLS = COW_DISK_BLOCK_BYTES / COW_DISK_CELL_BYTES,
  COW_DISK_TABLE_START = COW_DISK_SUPERS * COW_DISK_BLOCK_BYTES,
  COW_DISK_CELLS_START = COW_DISK_TABLE_START + COW_SHADOWS_MAX * COW_DISK_RECORD_BYTES,
  COW_DISK_IDENTITY_BYTES = 64,
  COW_DISK_HOLES_PER_SLOT = 4, /* so many holes at most */
  COW_DISK_HOLE_SUM = 1,       /* in the cell of a hole, which has no data */
  /* The witness: sectors of the origin that every filesystem writes when it is used. */
  COW_WITNESS_PLACES = 2,
  COW_WITNESS_PLACE_SECTORS = 8,
  COW_WITNESS_SECTORS = COW_WITNESS_PLACES * COW_WITNESS_PLACE_SECTORS,
};

struct cow_disk_super {
  unsigned char uuid[16];
  uint64_t sequence; /* the greater one of the two is believed */
  uint64_t volume_bytes;
  uint32_t chunk_bytes, slots_max;
  uint32_t holes_max;   /* cells after those of slots_max slots */
  uint64_t seed;        /* of every other checksum: what an earlier storage left here never verifies */
  uint64_t durable;     /* all generations up to this one are */
  uint32_t next_number; /* shadow copies have had numbers below it */
  bool clean;           /* detached in good order */
  bool witnessed;       /* the sums below count */
  int64_t created_ns;
  char identity[COW_DISK_IDENTITY_BYTES];   /* of the origin, NUL-terminated; may be empty */
  uint64_t witness[COW_WITNESS_SECTORS][2]; /* sums that the sector may have; 0 as the first: any */
};

enum cow_disk_state { COW_DISK_GONE, COW_DISK_LIVE, COW_DISK_DROPPED, COW_DISK_STATES };
struct cow_disk_record {
  char id[37], why[91];
  uint32_t number;
  enum cow_disk_state state;
  int64_t created_ns;
  bool held; /* what is free may be learned from it (E18) */
};

struct cow_disk_cell {
  uint64_t key;        /* cow_key() */
  uint64_t generation; /* of the flush that made it and its data durable */
  uint64_t durable;    /* the last generation that was durable when this was written */
  uint32_t sum;        /* of the slot's data; COW_DISK_HOLE_SUM: a hole's */
};

enum cow_disk_found {
  COW_DISK_NONE, /* all zero */
  COW_DISK_GOOD,
  COW_DISK_DAMAGED,
};

void cow_disk_super_encode(const struct cow_disk_super *s, unsigned char block[COW_DISK_BLOCK_BYTES]);
/* -ENODATA: not one; -EPROTONOSUPPORT: of a later version; -EUCLEAN: damaged. */
int cow_disk_super_decode(const unsigned char block[COW_DISK_BLOCK_BYTES], struct cow_disk_super *ret);

void cow_disk_record_encode(const struct cow_disk_super *s, uint32_t index, const struct cow_disk_record *r,
                            unsigned char at[COW_DISK_RECORD_BYTES]);
enum cow_disk_found cow_disk_record_decode(const struct cow_disk_super *s, uint32_t index,
                                           const unsigned char at[COW_DISK_RECORD_BYTES],
                                           struct cow_disk_record *ret);

void cow_disk_cell_encode(const struct cow_disk_super *s, uint32_t slot, const struct cow_disk_cell *c,
                          unsigned char at[COW_DISK_CELL_BYTES]);
enum cow_disk_found cow_disk_cell_decode(const struct cow_disk_super *s, uint32_t slot,
                                         const unsigned char at[COW_DISK_CELL_BYTES], struct cow_disk_cell *ret);

/* Of one slot's data (chunk_bytes); never 0. */
uint32_t cow_disk_data_sum(const struct cow_disk_super *s, const void *data);
/* Of one sector of the origin; never 0. */
uint64_t cow_disk_sector_sum(const struct cow_disk_super *s, const void *sector);

/* Where witness sector i is on the origin. */
static inline uint64_t cow_witness_offset(unsigned i) {
  return (uint64_t)(i / COW_WITNESS_PLACE_SECTORS) * 65536 + i % COW_WITNESS_PLACE_SECTORS * COW_SECTOR_BYTES;
}

static inline uint64_t cow_disk_cells_block(uint32_t slot) {
  return COW_DISK_CELLS_START + (uint64_t)(slot / COW_DISK_BLOCK_CELLS) * COW_DISK_BLOCK_BYTES;
}
/* Of slots and holes. */
static inline uint32_t cow_disk_cells(const struct cow_disk_super *s) { return s->slots_max + s->holes_max; }
/* Where slot 0 is: after so many cells, at a multiple of the largest chunk. */
static inline uint64_t cow_disk_slots_start(uint32_t cells) {
  uint64_t end = cow_disk_cells_block(cells - 1) + COW_DISK_BLOCK_BYTES;
  return (end + COW_CHUNK_BYTES_MAX - 1) / COW_CHUNK_BYTES_MAX * COW_CHUNK_BYTES_MAX;
}
/* How many holes storage of so many slots has cells for: no more than the volume has chunks. */
uint32_t cow_disk_holes_for(const struct cow_geometry *g, uint32_t slots);
/* How many slots storage of that size has room for, what it needs for itself taken off; 0: too small. */
uint32_t cow_disk_slots_for(const struct cow_geometry *g, uint64_t storage_bytes);

#endif
