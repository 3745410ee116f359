/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The list of operations and the state after each: order-model.h. No input, no output, no randomness but the seed. */
#include "order-model.h"

#include <inttypes.h>
#include <stdio.h>

/* splitmix64's finaliser: well mixed, the same everywhere. */
static uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static enum order_kind kind_of(unsigned percent) {
  static const struct {
    unsigned below;
    enum order_kind kind;
  } shares[] = {
      {45, ORDER_APPEND}, {70, ORDER_STORE}, {76, ORDER_DIRECT}, {86, ORDER_TOGGLE}, {96, ORDER_RENAME},
  };
  for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
    if (percent < shares[i].below)
      return shares[i].kind;
  return ORDER_TRUNCATE;
}

static enum order_sync sync_of(unsigned of_64) {
  return of_64 == 0 ? ORDER_SYNC_FULL : of_64 == 1 ? ORDER_SYNC_DATA : ORDER_SYNC_NONE;
}

struct order_operation order_next(const struct order *o) {
  uint64_t number = o->number + 1, random = mix(o->seed ^ mix(number));
  struct order_operation op = {
      .number = number,
      .kind = kind_of((unsigned)(random % 100)),
      .sync = sync_of((unsigned)(random >> 8 & 63)),
      .directory = (unsigned)((random >> 16 & 0xffff) % o->directory_count),
      .slot = (unsigned)(random >> 32 & 0xffff),
  };
  unsigned choice = (unsigned)(random >> 48);
  const struct order_directory *d = &o->directories[op.directory];
  switch (op.kind) {
  case ORDER_APPEND:
  case ORDER_TRUNCATE:
    op.file = choice % APPEND_FILES;
    op.kind = d->append[op.file].count == APPEND_RECORDS_MAX ? ORDER_TRUNCATE
              : d->append[op.file].count < 2                 ? ORDER_APPEND
                                                             : op.kind;
    op.count_after = d->append[op.file].count / 2;
    break;
  case ORDER_STORE:
    op.file = choice % STORE_FILES;
    op.slot %= STORE_SLOTS;
    break;
  case ORDER_DIRECT:
    op.slot %= DIRECT_BLOCKS;
    break;
  case ORDER_TOGGLE:
    op.file = choice % TOGGLE_FILES;
    op.previous = d->toggle[op.file];
    break;
  case ORDER_RENAME:
    op.file = choice % RENAME_FILES;
    op.previous = d->renamed[op.file];
    break;
  }
  return op;
}

void order_apply(struct order *o, const struct order_operation *op) {
  struct order_directory *d = &o->directories[op->directory];
  o->number = op->number;
  switch (op->kind) {
  case ORDER_APPEND:
    d->append[op->file].numbers[d->append[op->file].count++] = op->number;
    break;
  case ORDER_STORE:
    d->store[op->file][op->slot] = op->number;
    break;
  case ORDER_DIRECT:
    d->direct[op->slot] = op->number;
    break;
  case ORDER_TOGGLE:
    d->toggle[op->file] = op->previous ? 0 : op->number;
    break;
  case ORDER_RENAME:
    d->renamed[op->file] = op->number;
    break;
  case ORDER_TRUNCATE:
    d->append[op->file].count = op->count_after;
    break;
  }
}

unsigned order_object(const struct order_operation *op) {
  enum {
    STORES = APPEND_FILES,
    DIRECTS = STORES + STORE_FILES * STORE_SLOTS,
    TOGGLES = DIRECTS + DIRECT_BLOCKS,
    RENAMES = TOGGLES + TOGGLE_FILES,
  };
  switch (op->kind) {
  case ORDER_APPEND:
  case ORDER_TRUNCATE:
    return op->file;
  case ORDER_STORE:
    return STORES + op->file * STORE_SLOTS + op->slot;
  case ORDER_DIRECT:
    return DIRECTS + op->slot;
  case ORDER_TOGGLE:
    return TOGGLES + op->file;
  case ORDER_RENAME:
    break;
  }
  return RENAMES + op->file;
}

void order_toggle_name(char text[ORDER_NAME_BYTES], unsigned file, uint64_t number) {
  snprintf(text, ORDER_NAME_BYTES, "toggle-%u-%" PRIu64, file, number);
}

void order_renamed_name(char text[ORDER_NAME_BYTES], unsigned file, uint64_t number) {
  snprintf(text, ORDER_NAME_BYTES, "%s/renamed-%u-%" PRIu64, number % 2 ? "one" : "two", file, number);
}
