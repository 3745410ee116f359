/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/extents.h"

#include <assert.h>
#include <errno.h>

static bool sound(const struct cow_extent_range *ranges, size_t count, uint64_t volume_bytes) {
  uint64_t end = 0;
  for (size_t i = 0; i < count; i++) {
    const struct cow_extent_range *r = &ranges[i];
    if (r->length_bytes == 0 || r->offset_bytes % COW_SECTOR_BYTES != 0 || r->length_bytes % COW_SECTOR_BYTES != 0 ||
        r->offset_bytes < end || r->offset_bytes > volume_bytes || r->length_bytes > volume_bytes - r->offset_bytes)
      return false;
    end = r->offset_bytes + r->length_bytes;
  }
  return count > 0 && count <= COW_EXTENTS_MAX;
}

int cow_extents_set(struct cow_extents *x, const struct cow_extent_range *ranges, size_t count,
                    const struct cow_geometry *g, uint32_t slots_max) {
  if (!sound(ranges, count, g->volume_bytes))
    return -EINVAL;
  uint64_t chunks = 0;
  for (size_t i = 0; i < count; i++)
    chunks += ranges[i].length_bytes / g->chunk_bytes;
  if (chunks == 0)
    return -ENOSPC;
  uint32_t slots = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t fit = ranges[i].length_bytes / g->chunk_bytes, left = slots_max - slots;
    x->at[i] = (struct cow_extent){.offset_bytes = ranges[i].offset_bytes,
                                   .length_bytes = ranges[i].length_bytes,
                                   .first_slot = slots,
                                   .slots = (uint32_t)(fit < left ? fit : left)};
    slots += x->at[i].slots;
  }
  x->slots = slots;
  atomic_store(&x->certain, 0);
  atomic_store(&x->count, (uint32_t)count);
  return 0;
}

bool cow_extents_equal(const struct cow_extents *x, const struct cow_extent_range *ranges, size_t count) {
  bool equal = atomic_load(&x->count) == count;
  for (size_t i = 0; i < count && equal; i++)
    equal = x->at[i].offset_bytes == ranges[i].offset_bytes && x->at[i].length_bytes == ranges[i].length_bytes;
  return equal;
}

bool cow_extents_overlap(const struct cow_extents *x, uint64_t offset_bytes, uint64_t length_bytes,
                         uint64_t *ret_offset, uint64_t *ret_length) {
  uint32_t count = atomic_load_explicit(&x->count, memory_order_acquire), low = 0, high = count;
  while (low < high) { /* the first that ends after offset */
    uint32_t middle = low + (high - low) / 2;
    if (x->at[middle].offset_bytes + x->at[middle].length_bytes <= offset_bytes)
      low = middle + 1;
    else
      high = middle;
  }
  uint64_t end = offset_bytes + length_bytes;
  if (low == count || x->at[low].offset_bytes >= end)
    return false;
  uint64_t its_end = x->at[low].offset_bytes + x->at[low].length_bytes;
  *ret_offset = x->at[low].offset_bytes > offset_bytes ? x->at[low].offset_bytes : offset_bytes;
  *ret_length = (its_end < end ? its_end : end) - *ret_offset;
  return true;
}

uint64_t cow_extents_place(const struct cow_extents *x, uint32_t slot, uint32_t chunk_bytes, uint32_t *ret_row) {
  uint32_t low = 0, high = atomic_load_explicit(&x->count, memory_order_acquire);
  assert(slot < x->slots);
  while (high - low > 1) { /* the last that begins at or before slot; of those without slots, the one after them */
    uint32_t middle = low + (high - low) / 2;
    if (x->at[middle].first_slot <= slot)
      low = middle;
    else
      high = middle;
  }
  *ret_row = x->at[low].first_slot + x->at[low].slots - slot;
  return x->at[low].offset_bytes + (uint64_t)(slot - x->at[low].first_slot) * chunk_bytes;
}
