/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where old chunks are kept: slots in a file or device elsewhere, slot n at byte start + n × chunk_bytes.  Which slot
 * holds what is known by the arena's keys, so that a copy costs no flush and no record; what of it outlives the
 * machine's run is the ledger's (ledger.h), which lies before the slots.
 *
 * A file grows in steps of COW_STORAGE_STEP_BYTES, allocated before they count, so that no write finds the filesystem
 * full later.
 */
#ifndef COW_STORAGE_H
#define COW_STORAGE_H

#include "common/error.h"
#include "cow/extents.h"
#include "cow/geometry.h"
#include "cow/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COW_STORAGE_STEP_BYTES = 64 << 20, COW_STORAGE_WARN_PERCENT = 80 };

struct cow_storage;

struct cow_storage_options {
  int fd; /* O_RDWR | O_DIRECT, a file or block device; borrowed */
  uint32_t chunk_bytes;
  uint64_t limit_bytes; /* for slots: whole ones below it are used */
  uint64_t start_bytes; /* where slot 0 is; a multiple of COW_BUFFER_ALIGNMENT */
  /* Slots lie in these ranges of fd instead, as many as there are and the limit allows; borrowed. NULL: they do not.
   */
  const struct cow_extents *extents;
};

/* What the file holds already (of a server that died) stays; cow_storage_claim() says what of it is in use. */
int cow_storage_open(const struct cow_storage_options *options, struct cow_storage **ret, struct umbra_error *err);
void cow_storage_close(struct cow_storage *s); /* NULL is fine */

/* They were set, given up, became certain or doubtful. Nobody is getting, writing or reading slots that count. */
void cow_storage_extents_changed(struct cow_storage *s);

uint32_t cow_storage_slots_max(const struct cow_storage *s); /* by the limit */

/* At start, before any get: the slot is in use. -EUCLEAN past the limit or twice. */
int cow_storage_claim(struct cow_storage *s, uint32_t slot);

/*
 * Up to count_max slots in a row, at least one. -ENOSPC: the limit is reached or the filesystem below is full. Blocks
 * for the allocation of a step. Any thread.
 */
int cow_storage_get(struct cow_storage *s, uint32_t count_max, uint32_t *ret_first, uint32_t *ret_count);
/* One slot, unless COW_STORAGE_WARN_PERCENT are in use: the rest is for old data (E19). */
int cow_storage_get_spare(struct cow_storage *s, uint32_t *ret);
void cow_storage_put(struct cow_storage *s, uint32_t slot); /* memory only; any thread */

/* What writes whole slots that were got together, for cow_io_run(). */
struct cow_transfer cow_storage_transfer(const struct cow_storage *s, uint32_t first, uint32_t count, void *buffer);
/* A part of one slot or of several in a row. Any thread. 0 or negative errno. */
int cow_storage_read(struct cow_storage *s, uint32_t first, uint64_t offset_bytes, void *buffer, size_t length_bytes);
/* A part of one slot. As above. */
int cow_storage_write(struct cow_storage *s, uint32_t slot, uint64_t offset_bytes, const void *buffer,
                      size_t length_bytes);

struct cow_storage_status {
  uint64_t used_bytes, bytes, limit_bytes; /* bytes: allocated so far */
  bool over_warning;
};
void cow_storage_status(struct cow_storage *s, struct cow_storage_status *ret);

#endif
