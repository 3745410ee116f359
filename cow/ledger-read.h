/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a ledger: what recovery and others share.  Writes nothing.  The
 * storage may be anything: what is found is checked, and told, never believed.
 */
#ifndef COW_LEDGER_READ_H
#define COW_LEDGER_READ_H

#include "common/error.h"
#include "cow/ondisk.h"

#include <stdbool.h>
#include <stdint.h>

/* The newer good one. -ENODATA: there is none, nor a damaged one; -EUCLEAN, -EPROTONOSUPPORT. */
int cow_ledger_read_super(int fd, struct cow_disk_super *ret, struct umbra_error *err);

/* Sizes of the storage itself. Slots: those whose data the file or device is long enough for, at most slots_max. */
int cow_ledger_slots(int fd, const struct cow_disk_super *s, uint32_t *ret_slots, struct umbra_error *err);

/* All COW_SHADOWS_MAX places of the table; unreadable ones are damaged. Ends at visit() != 0, which is returned. */
int cow_ledger_visit_records(int fd, const struct cow_disk_super *s,
                             int (*visit)(uint32_t index, enum cow_disk_found found,
                                          const struct cow_disk_record *record, void *context),
                             void *context);

/* Those that are not empty. */
int cow_ledger_visit_cells(int fd, const struct cow_disk_super *s,
                           int (*visit)(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell,
                                        void *context),
                           void *context);

/* Reads a slot (buffer: COW_CHUNK_BYTES_MAX, aligned): has it this sum? An error counts as no. */
bool cow_ledger_slot_holds(int fd, const struct cow_disk_super *s, uint32_t slot, uint32_t sum, void *buffer);

/* Is the origin long enough for the place that witness sector i is in? If not it is not looked at. */
bool cow_witness_place_there(const struct cow_disk_super *s, unsigned i);
/* The sums of the witness's sectors as the origin has them; 1 for a place that is not there. Buffer:
 * COW_WITNESS_PLACES blocks. */
int cow_witness_read(int origin_fd, const struct cow_disk_super *s, unsigned char *buffer,
                     uint64_t ret[COW_WITNESS_SECTORS]);
bool cow_witness_agrees(const struct cow_disk_super *s, const uint64_t sums[COW_WITNESS_SECTORS]);

#endif
