/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/ledger-read.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

enum { READ_BYTES = 1 << 20, READ_BLOCKS = READ_BYTES / COW_DISK_BLOCK_BYTES };

int cow_ledger_read_super(int fd, struct cow_disk_super *ret, struct umbra_error *err) {
  CLEANUP_FREE unsigned char *block = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_DISK_BLOCK_BYTES);
  if (!block)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "reading the storage");
  int worst = -ENODATA;
  bool found = false;
  for (unsigned i = 0; i < COW_DISK_SUPERS; i++) {
    struct cow_disk_super s;
    int r = fd_pread_all(fd, block, COW_DISK_BLOCK_BYTES, (uint64_t)i * COW_DISK_BLOCK_BYTES);
    if (r >= 0)
      r = cow_disk_super_decode(block, &s);
    if (r < 0)
      worst = r == -ENODATA ? worst : r;
    else if (!found || s.sequence > ret->sequence) {
      *ret = s;
      found = true;
    }
  }
  if (worst == -EPROTONOSUPPORT)
    return error_set(err, worst, UMBRA_REASON_INVALID, "the storage is of a later version of umbra");
  if (found)
    return 0;
  if (worst == -ENODATA)
    return error_set(err, worst, UMBRA_REASON_NOT_FOUND, "it is no storage of umbra");
  return error_set(err, worst == -EIO ? worst : -EUCLEAN, UMBRA_REASON_DAMAGED,
                   "both superblocks of the storage are damaged");
}

int cow_ledger_slots(int fd, const struct cow_disk_super *s, uint32_t *ret_slots, struct umbra_error *err) {
  struct stat st;
  uint64_t bytes = 0, start = cow_disk_slots_start(cow_disk_cells(s));
  if (fstat(fd, &st) < 0)
    return error_errno(err, "looking at the storage");
  if (!S_ISBLK(st.st_mode))
    bytes = (uint64_t)st.st_size;
  else if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
    return error_errno(err, "asking the storage device for its size");
  if (bytes < start)
    return error_set(err, -EUCLEAN, UMBRA_REASON_DAMAGED, "the storage has been cut off: it has %llu bytes of %llu",
                     (unsigned long long)bytes, (unsigned long long)start);
  uint64_t slots = (bytes - start) / s->chunk_bytes;
  *ret_slots = slots < s->slots_max ? (uint32_t)slots : s->slots_max;
  return 0;
}

int cow_ledger_visit_records(int fd, const struct cow_disk_super *s,
                             int (*visit)(uint32_t index, enum cow_disk_found found,
                                          const struct cow_disk_record *record, void *context),
                             void *context) {
  CLEANUP_FREE unsigned char *block = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_DISK_BLOCK_BYTES);
  int r = block ? 0 : -ENOMEM;
  for (uint32_t i = 0; i < COW_SHADOWS_MAX && r == 0; i++) {
    struct cow_disk_record record = {0};
    unsigned char *at = block + i % COW_DISK_BLOCK_RECORDS * COW_DISK_RECORD_BYTES;
    if (i % COW_DISK_BLOCK_RECORDS == 0 &&
        fd_pread_all(fd, block, COW_DISK_BLOCK_BYTES, COW_DISK_TABLE_START + (uint64_t)i * COW_DISK_RECORD_BYTES) < 0)
      memset(block, 0xff, COW_DISK_BLOCK_BYTES);
    r = visit(i, cow_disk_record_decode(s, i, at, &record), &record, context);
  }
  return r;
}

/* Of a file, the first cell's number at or after this one that was ever written; cells: none. */
static uint64_t next_written(int fd, uint64_t first, uint64_t cells) {
  off_t offset = (off_t)cow_disk_cells_block((uint32_t)first);
  off_t data = lseek(fd, offset, SEEK_DATA);
  if (data < 0)
    return errno == ENXIO ? cells : first; /* a device cannot tell */
  return data <= offset ? first : first + (uint64_t)(data - offset) / COW_DISK_BLOCK_BYTES * COW_DISK_BLOCK_CELLS;
}

/* Of a piece that cannot be read, each block for itself. */
static void read_cells(int fd, unsigned char *buffer, size_t bytes, uint64_t offset) {
  if (fd_pread_all(fd, buffer, bytes, offset) >= 0)
    return;
  for (size_t at = 0; at < bytes; at += COW_DISK_BLOCK_BYTES)
    if (fd_pread_all(fd, buffer + at, COW_DISK_BLOCK_BYTES, offset + at) < 0)
      memset(buffer + at, 0xff, COW_DISK_BLOCK_BYTES);
}

int cow_ledger_visit_cells(int fd, const struct cow_disk_super *s,
                           int (*visit)(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell,
                                        void *context),
                           void *context) {
  const uint32_t piece = READ_BLOCKS * COW_DISK_BLOCK_CELLS, cells = cow_disk_cells(s);
  CLEANUP_FREE unsigned char *buffer = aligned_alloc(COW_BUFFER_ALIGNMENT, READ_BYTES);
  int r = buffer ? 0 : -ENOMEM;
  for (uint64_t first = next_written(fd, 0, cells); first < cells && r == 0;
       first = next_written(fd, first + piece, cells)) {
    uint32_t count = cells - first < piece ? (uint32_t)(cells - first) : piece;
    size_t blocks = (count + COW_DISK_BLOCK_CELLS - 1) / COW_DISK_BLOCK_CELLS;
    read_cells(fd, buffer, blocks * COW_DISK_BLOCK_BYTES, cow_disk_cells_block((uint32_t)first));
    for (uint32_t i = 0; i < count && r == 0; i++) {
      struct cow_disk_cell cell = {0};
      uint32_t slot = (uint32_t)first + i;
      enum cow_disk_found found = cow_disk_cell_decode(s, slot, buffer + (size_t)i * COW_DISK_CELL_BYTES, &cell);
      if (found != COW_DISK_NONE)
        r = visit(slot, found, &cell, context);
    }
  }
  return r;
}

bool cow_ledger_slot_holds(int fd, const struct cow_disk_super *s, uint32_t slot, uint32_t sum, void *buffer) {
  uint64_t offset = cow_disk_slots_start(cow_disk_cells(s)) + (uint64_t)slot * s->chunk_bytes;
  return fd_pread_all(fd, buffer, s->chunk_bytes, offset) >= 0 && cow_disk_data_sum(s, buffer) == sum;
}

bool cow_witness_place_there(const struct cow_disk_super *s, unsigned i) {
  unsigned last = i / COW_WITNESS_PLACE_SECTORS * COW_WITNESS_PLACE_SECTORS + COW_WITNESS_PLACE_SECTORS - 1;
  return cow_witness_offset(last) + COW_SECTOR_BYTES <= s->volume_bytes;
}

int cow_witness_read(int origin_fd, const struct cow_disk_super *s, unsigned char *buffer,
                     uint64_t ret[COW_WITNESS_SECTORS]) {
  for (unsigned p = 0; p < COW_WITNESS_PLACES; p++) {
    const unsigned bytes = COW_WITNESS_PLACE_SECTORS * COW_SECTOR_BYTES;
    uint64_t offset = cow_witness_offset(p * COW_WITNESS_PLACE_SECTORS);
    bool there = cow_witness_place_there(s, p * COW_WITNESS_PLACE_SECTORS);
    int r = there ? fd_pread_all(origin_fd, buffer, bytes, offset) : 0;
    if (r < 0)
      return r;
    for (unsigned i = 0; i < COW_WITNESS_PLACE_SECTORS; i++)
      ret[p * COW_WITNESS_PLACE_SECTORS + i] =
          there ? cow_disk_sector_sum(s, buffer + (size_t)i * COW_SECTOR_BYTES) : 1;
  }
  return 0;
}

bool cow_witness_agrees(const struct cow_disk_super *s, const uint64_t sums[COW_WITNESS_SECTORS]) {
  for (unsigned i = 0; i < COW_WITNESS_SECTORS; i++)
    if (s->witness[i][0] != 0 && sums[i] != s->witness[i][0] && sums[i] != s->witness[i][1])
      return false;
  return true;
}
