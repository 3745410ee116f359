/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Superblocks, the table of shadow copies and the witness (E15 to E17). */
#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/ledger-read.h"
#include "cow/ledger-state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned char *buffer(struct cow_ledger *l, unsigned i) {
  return l->buffers + (size_t)i * COW_DISK_BLOCK_BYTES;
}

/* The one that is not the newest is replaced. Under table. */
static int write_super(struct cow_ledger *l) {
  unsigned char *block = buffer(l, LEDGER_SUPER_BUFFER);
  struct cow_arena_header *h = l->arena->header;
  if (atomic_load(&h->ledger_failed))
    return -EIO;
  l->super.sequence++;
  l->super.durable = atomic_load(&h->durable);
  l->super.next_number = h->next_number;
  cow_disk_super_encode(&l->super, block);
  int r = fd_pwrite_all(l->storage_fd, block, COW_DISK_BLOCK_BYTES,
                        l->super.sequence % COW_DISK_SUPERS * COW_DISK_BLOCK_BYTES);
  if (r >= 0 && fdatasync(l->storage_fd) < 0)
    r = -errno;
  return cow_ledger_failed(l, r);
}

int cow_ledger_start(struct cow_ledger *l, struct umbra_error *err) {
  int r = cow_ledger_read_super(l->storage_fd, &l->super, err);
  if (r < 0)
    return r;
  if (l->super.slots_max != l->arena->header->slots_max || l->super.holes_max != l->arena->header->holes_max ||
      l->super.chunk_bytes != l->arena->header->chunk_bytes)
    return error_set(err, -EUCLEAN, UMBRA_REASON_DAMAGED, "the storage is not the one that the volume had");
  /*
   * What the last server wrote there may not have been flushed, and what it was about to write is unknown. The next
   * one goes on without storage that fails: the volume must (E11).
   */
  l->super.clean = false;
  (void)cow_ledger_clear_unpublished(l);
  (void)cow_witness_settle(l);
  return 0;
}

int cow_ledger_record(struct cow_ledger *l, size_t index, enum cow_disk_state state) {
  const struct cow_arena_shadow *s = &l->arena->header->shadows[index];
  unsigned char *block = buffer(l, LEDGER_TABLE_BUFFER);
  uint64_t offset = COW_DISK_TABLE_START + index / COW_DISK_BLOCK_RECORDS * COW_DISK_BLOCK_BYTES;
  struct cow_disk_record record = {.number = s->number, .state = state, .created_ns = s->created_ns, .held = s->held};
  memcpy(record.id, s->id, sizeof record.id);
  memcpy(record.why, s->why, sizeof record.why);
  pthread_mutex_lock(&l->table);
  int r = atomic_load(&l->arena->header->ledger_failed) ? -EIO : 0;
  if (r >= 0)
    r = fd_pread_all(l->storage_fd, block, COW_DISK_BLOCK_BYTES, offset);
  if (r >= 0) {
    cow_disk_record_encode(&l->super, (uint32_t)index, &record,
                           block + index % COW_DISK_BLOCK_RECORDS * COW_DISK_RECORD_BYTES);
    r = fd_pwrite_all(l->storage_fd, block, COW_DISK_BLOCK_BYTES, offset);
  }
  if (r >= 0 && fdatasync(l->storage_fd) < 0)
    r = -errno;
  pthread_mutex_unlock(&l->table);
  return cow_ledger_failed(l, r);
}

/* ---- the witness ---- */

bool cow_witness_touches(uint64_t offset_bytes, uint64_t length_bytes) {
  for (unsigned p = 0; p < COW_WITNESS_PLACES; p++) {
    uint64_t at = cow_witness_offset(p * COW_WITNESS_PLACE_SECTORS);
    if (offset_bytes < at + (uint64_t)COW_WITNESS_PLACE_SECTORS * COW_SECTOR_BYTES &&
        offset_bytes + length_bytes > at)
      return true;
  }
  return false;
}

/* The sectors become what the origin has. Under witness, after a flush of the origin. */
static int look(struct cow_ledger *l) {
  uint64_t sums[COW_WITNESS_SECTORS];
  int r = cow_witness_read(l->origin_fd, &l->super, buffer(l, LEDGER_ORIGIN_BUFFER), sums);
  for (unsigned i = 0; r >= 0 && i < COW_WITNESS_SECTORS; i++)
    l->super.witness[i][0] = l->super.witness[i][1] = sums[i];
  return r;
}

static void note_write(struct cow_ledger *l, const struct cow_witness_write *w) {
  static const unsigned char zeros[COW_SECTOR_BYTES];
  for (unsigned i = 0; i < COW_WITNESS_SECTORS; i++) {
    uint64_t at = cow_witness_offset(i);
    if (at < w->offset_bytes || at >= w->offset_bytes + w->length_bytes || !cow_witness_place_there(&l->super, i))
      continue;
    uint64_t sum =
        cow_disk_sector_sum(&l->super, w->data ? (const unsigned char *)w->data + (at - w->offset_bytes) : zeros);
    /* A second time among those that go together: either may come last. */
    if (l->super.witness[i][1] != l->super.witness[i][0]) {
      l->super.witness[i][0] = 0;
      l->reread = true;
    }
    l->super.witness[i][1] = sum;
  }
}

static int expect(struct cow_ledger *l, const struct cow_witness_write *writes, size_t count) {
  /* What was written last is on the disk, or may be; from now on it is. */
  if (l->pending && fdatasync(l->origin_fd) < 0)
    return -errno;
  int r = l->reread ? look(l) : 0;
  if (r < 0)
    return r;
  l->pending = true;
  l->reread = false;
  for (unsigned i = 0; i < COW_WITNESS_SECTORS; i++)
    l->super.witness[i][0] = l->super.witness[i][1];
  for (size_t i = 0; i < count; i++)
    note_write(l, &writes[i]);
  pthread_mutex_lock(&l->table);
  r = write_super(l);
  pthread_mutex_unlock(&l->table);
  return r;
}

/* An error is none of the writer's: the witness then says "changed", which costs shadow copies but shows none wrong.
 */
void cow_witness_before(struct cow_ledger *l, const struct cow_witness_write *writes, size_t count, bool kept) {
  pthread_mutex_lock(&l->witness);
  if (kept && l->watching)
    (void)expect(l, writes, count);
  else if (!kept)
    l->watching = false;
}

void cow_witness_after(struct cow_ledger *l, bool failed) {
  l->reread = l->reread || failed;
  pthread_mutex_unlock(&l->witness);
}

void cow_witness_rest(struct cow_ledger *l) {
  pthread_mutex_lock(&l->witness);
  l->watching = false;
  pthread_mutex_unlock(&l->witness);
}

int cow_witness_settle(struct cow_ledger *l) {
  int r = 0;
  pthread_mutex_lock(&l->witness);
  if (!l->watching) {
    r = fdatasync(l->origin_fd) < 0 ? -errno : look(l);
    l->pending = l->reread = false;
    l->super.witnessed = true;
    pthread_mutex_lock(&l->table);
    if (r >= 0)
      r = write_super(l);
    pthread_mutex_unlock(&l->table);
    l->watching = r >= 0;
  }
  pthread_mutex_unlock(&l->witness);
  return r;
}

int cow_ledger_finish(struct cow_ledger *l) {
  int r = fdatasync(l->origin_fd) < 0 ? -errno : 0;
  pthread_mutex_lock(&l->witness);
  if (r >= 0)
    r = look(l);
  if (r >= 0) {
    l->super.clean = l->super.witnessed = true;
    pthread_mutex_lock(&l->table);
    r = write_super(l);
    pthread_mutex_unlock(&l->table);
  }
  pthread_mutex_unlock(&l->witness);
  return r;
}

/* ---- making one ---- */

static int reserve_start(int fd, uint64_t start_bytes, struct umbra_error *err) {
  struct stat st;
  if (fstat(fd, &st) < 0)
    return error_errno(err, "looking at the storage");
  if (!S_ISBLK(st.st_mode) && (ftruncate(fd, 0) < 0 || fallocate(fd, 0, 0, (off_t)start_bytes) < 0))
    return error_errno(err, "reserving %llu bytes of storage", (unsigned long long)start_bytes);
  if (S_ISBLK(st.st_mode) && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)start_bytes) < 0)
    return error_errno(err, "clearing %llu bytes of storage", (unsigned long long)start_bytes);
  return 0;
}

int cow_ledger_format(int storage_fd, const struct cow_disk_super *super, struct umbra_error *err) {
  CLEANUP_FREE unsigned char *block = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_DISK_BLOCK_BYTES);
  if (!block)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "making the storage");
  int r = reserve_start(storage_fd, cow_disk_slots_start(cow_disk_cells(super)), err);
  if (r < 0)
    return r;
  /* Nothing of it counts before it all is there. */
  if (fsync(storage_fd) < 0)
    return error_errno(err, "making the storage");
  struct cow_disk_super s = *super;
  for (s.sequence = 1; s.sequence <= COW_DISK_SUPERS && r >= 0; s.sequence++) {
    cow_disk_super_encode(&s, block);
    r = fd_pwrite_all(storage_fd, block, COW_DISK_BLOCK_BYTES, s.sequence % COW_DISK_SUPERS * COW_DISK_BLOCK_BYTES);
  }
  if (r >= 0 && fsync(storage_fd) < 0)
    r = -errno;
  return r < 0 ? error_code(err, r, "making the storage") : 0;
}
