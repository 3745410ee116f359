/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What makes shadow copies outlive the machine's run: superblocks, table and cells in front of the slots of storage
 * (docs/ONDISK.md; DESIGN.md, E13 to E17).  This writes them while a volume is attached; recover.h reads them when it
 * is attached again.
 *
 * Callers from any thread. Everything blocks; nothing allocates after cow_ledger_open(). After a write or flush that
 * failed nothing is known of what the storage holds: from then on each call that would make something durable fails
 * with -EIO, also for the next server.
 */
#ifndef COW_LEDGER_H
#define COW_LEDGER_H

#include "common/error.h"
#include "cow/arena.h"
#include "cow/ondisk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cow_ledger;

/* Of storage that recovery or cow_ledger_format() left. Descriptors and arena are borrowed. */
int cow_ledger_open(int storage_fd, int origin_fd, struct cow_arena *arena, struct cow_ledger **ret,
                    struct umbra_error *err);
/* NULL is fine. Leaves what a crash leaves. */
void cow_ledger_close(struct cow_ledger *l);
/* Before a detach, nobody else at work: all of it durable, and marked so. */
int cow_ledger_finish(struct cow_ledger *l);

/* New: superblocks, no shadow copies. Overwrites. The file is made as long as its start, which is reserved. */
int cow_ledger_format(int storage_fd, const struct cow_disk_super *super, struct umbra_error *err);

/* What was written to count slots in a row from slot on: chunks[i] is slot + i's. Holes: no data. */
struct cow_stored {
  uint32_t slot, count;
  const uint64_t *chunks;
  const void *data;
};
/* Remembers the data's checksums; durable: returns when data and entries are. Those who come together share a flush.
 */
int cow_ledger_commit(struct cow_ledger *l, uint32_t epoch, const struct cow_stored *stored, size_t count,
                      bool durable);

/* Its key is zeroed, and it is about to be free: what its cell says is not needed by anybody (E7). */
void cow_ledger_forget(struct cow_ledger *l, uint32_t slot);

/* Is this (chunk_bytes) what was stored in the slot? */
bool cow_ledger_verify(const struct cow_ledger *l, uint32_t slot, const void *data);

/* Makes durable what the arena's table says of the shadow copy, but with this state. */
int cow_ledger_record(struct cow_ledger *l, size_t index, enum cow_disk_state state);

/*
 * The witness (E17). One that writes or zeroes (data NULL) calls before, then writes, then after, which it must as
 * many times: others who write there wait meanwhile. kept: there is a shadow copy that is to outlive the run.
 */
bool cow_witness_touches(uint64_t offset_bytes, uint64_t length_bytes);
struct cow_witness_write {
  const void *data;
  uint64_t offset_bytes, length_bytes;
};
void cow_witness_before(struct cow_ledger *l, const struct cow_witness_write *writes, size_t count, bool kept);
void cow_witness_after(struct cow_ledger *l, bool failed);
/* There is no such shadow copy, and writes may pass unseen from now on: the next settle looks again. */
void cow_witness_rest(struct cow_ledger *l);
/* Before the first such shadow copy is recorded; the origin is flushed. */
int cow_witness_settle(struct cow_ledger *l);

#endif
