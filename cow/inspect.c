/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/inspect.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/ledger-read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct checking {
  int fd;
  void (*problem)(const char *text, void *context);
  void *context;
  const struct cow_recovery *found;
  unsigned char *buffer; /* COW_CHUNK_BYTES_MAX */
};

static void tell(const struct checking *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(const struct checking *c, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  c->problem(text, c->context);
}

static int visit_supers(int fd,
                        int (*visit)(unsigned index, int code, const struct cow_disk_super *super, void *context),
                        void *context) {
  CLEANUP_FREE unsigned char *block = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_DISK_BLOCK_BYTES);
  int r = block ? 0 : -ENOMEM;
  for (unsigned i = 0; i < COW_DISK_SUPERS && r == 0; i++) {
    struct cow_disk_super super = {0};
    int code = fd_pread_all(fd, block, COW_DISK_BLOCK_BYTES, (uint64_t)i * COW_DISK_BLOCK_BYTES);
    r = visit(i, code < 0 ? code : cow_disk_super_decode(block, &super), &super, context);
  }
  return r;
}

static int check_super(unsigned index, int code, const struct cow_disk_super *super, void *context) {
  const struct checking *c = context;
  const struct cow_disk_super *good = &c->found->super;
  if (code < 0)
    tell(c, "superblock %u is damaged: the other one is used", index);
  else if (memcmp(super->uuid, good->uuid, sizeof good->uuid) != 0 || super->seed != good->seed ||
           super->volume_bytes != good->volume_bytes || super->chunk_bytes != good->chunk_bytes ||
           super->slots_max != good->slots_max || super->holes_max != good->holes_max)
    tell(c, "superblock %u is another storage's", index);
  return 0;
}

static int check_record(uint32_t index, enum cow_disk_found found, const struct cow_disk_record *record,
                        void *context) {
  (void)record;
  if (found == COW_DISK_DAMAGED)
    tell(context, "record %" PRIu32 " of the table is damaged: all shadow copies will be dropped", index);
  return 0;
}

static int check_cell(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *cell, void *context) {
  const struct checking *c = context;
  (void)cell;
  if (found == COW_DISK_DAMAGED)
    tell(c, "the cell of slot %" PRIu32 " is damaged: all shadow copies will be dropped", slot);
  else if (slot >= c->found->slots && slot < c->found->super.slots_max)
    tell(c,
         "slot %" PRIu32 " is in use, but the storage has been cut off before it: all shadow copies will be dropped",
         slot);
  return 0;
}

static int check_data(uint32_t slot, uint64_t key, void *context) {
  struct cow_arena *arena = ((struct cow_arena *const *)context)[1];
  const struct checking *c = ((const struct checking *const *)context)[0];
  if (slot < c->found->super.slots_max &&
      !cow_ledger_slot_holds(c->fd, &c->found->super, slot, atomic_load(&arena->sums[slot]), c->buffer))
    tell(c,
         "slot %" PRIu32 " (chunk %" PRIu64 ", epoch %" PRIu32
         ") does not hold what was stored: shadow copies that need it cannot be read there",
         slot, cow_key_chunk(key), cow_key_epoch(key));
  return 0;
}

int cow_inspect_check(int fd, void (*problem)(const char *text, void *context), void *context,
                      struct cow_recovery *ret, struct umbra_error *err) {
  struct cow_arena arena;
  struct bitmap clear = {0};
  CLEANUP_FREE unsigned char *buffer = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_CHUNK_BYTES_MAX);
  struct checking c = {.fd = fd, .problem = problem, .context = context, .found = ret, .buffer = buffer};
  void *both[] = {&c, &arena};
  if (!buffer)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "checking the storage");
  int r = cow_recovery_look(fd, -1, 0, &arena, &clear, ret, err);
  if (r >= 0) {
    r = visit_supers(fd, check_super, &c);
    if (r >= 0)
      r = cow_ledger_visit_records(fd, &ret->super, check_record, &c);
    if (r >= 0 && ret->damaged_cells > 0)
      r = cow_ledger_visit_cells(fd, &ret->super, check_cell, &c);
    if (r >= 0)
      r = cow_arena_visit_keys(&arena, check_data, both);
    if (ret->why_dropped[0] != '\0' && ret->damaged_records == 0 && ret->damaged_cells == 0)
      tell(&c, "records or cells contradict each other: all shadow copies will be dropped");
    if (r < 0)
      (void)error_code(err, r, "reading the storage");
    cow_arena_done(&arena);
  }
  bitmap_done(&clear);
  return r;
}

int cow_inspect_dump(int fd, const struct cow_inspect_visits *visits, void *context, struct umbra_error *err) {
  struct cow_disk_super super;
  uint32_t slots = 0;
  int r = cow_ledger_read_super(fd, &super, err);
  if (r < 0)
    return r;
  if (visits->super)
    r = visit_supers(fd, visits->super, context);
  if (r == 0 && visits->record)
    r = cow_ledger_visit_records(fd, &super, visits->record, context);
  if (r < 0)
    return error_code(err, r, "reading the storage");
  if (r > 0 || !visits->cell)
    return r;
  /* As many cells as it says it has, which must be there. */
  r = cow_ledger_slots(fd, &super, &slots, err);
  if (r < 0)
    return r;
  r = cow_ledger_visit_cells(fd, &super, visits->cell, context);
  return r < 0 ? error_code(err, r, "reading the storage's entries") : r;
}
