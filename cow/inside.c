/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the engine does where its storage lies inside the volume itself (DESIGN.md, E21 to E25). */
#include "cow/engine-state.h"

#include <errno.h>
#include <string.h>

/* With the epoch held exclusively: no copy is under way, and none begins that would find a slot. */
static void give_up(struct cow_engine *e, const char *why) {
  cow_drop_after(e, 0, why);
  pthread_rwlock_wrlock(&e->overlay.lock);
  atomic_store(&e->extents->count, 0);
  cow_storage_extents_changed(e->storage);
  pthread_rwlock_unlock(&e->overlay.lock);
}

void cow_heed_write(struct cow_engine *e, uint64_t offset_bytes, uint64_t length_bytes) {
  uint64_t at, bytes;
  while (cow_extents_overlap(e->extents, offset_bytes, length_bytes, &at, &bytes)) {
    pthread_rwlock_unlock(&e->epoch);
    pthread_rwlock_wrlock(&e->epoch);
    if (cow_extents_overlap(e->extents, offset_bytes, length_bytes, &at, &bytes))
      give_up(e, "the filesystem uses what was its storage: the storage file was removed or moved");
    pthread_rwlock_unlock(&e->epoch);
    pthread_rwlock_rdlock(&e->epoch);
  }
}

void cow_mask_storage(const struct cow_engine *e, unsigned char *buffer, uint64_t offset_bytes,
                      uint64_t length_bytes) {
  uint64_t at, bytes, end = offset_bytes + length_bytes;
  for (uint64_t from = offset_bytes; from < end && cow_extents_overlap(e->extents, from, end - from, &at, &bytes);
       from = at + bytes)
    memset(buffer + (at - offset_bytes), 0, bytes);
}

/* With the epoch held exclusively. Handles of dropped ones read nothing any more. */
static int take(struct cow_engine *e, const struct cow_extent_range *ranges, size_t count, struct umbra_error *err) {
  struct cow_storage_status status;
  /* What lies there by now may be theirs: it is going to be overwritten below the filesystem, without a copy. */
  cow_drop_after(e, 0, "it was live when other storage was reserved in the volume");
  (void)cow_reclaim_now(e, atomic_load(&e->reclaim_passes));
  cow_storage_status(e->storage, &status);
  if (status.used_bytes > 0)
    return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "the space of shadow copies that were dropped is not free yet");
  pthread_rwlock_wrlock(&e->overlay.lock);
  int r = cow_extents_set(e->extents, ranges, count, &e->geometry, e->arena->header->slots_max);
  cow_storage_extents_changed(e->storage);
  pthread_rwlock_unlock(&e->overlay.lock);
  if (r == -ENOSPC)
    return error_set(err, r, UMBRA_REASON_STORAGE, "no range of the storage file has room for a chunk of %u bytes",
                     e->geometry.chunk_bytes);
  if (r < 0)
    return error_set(err, r, UMBRA_REASON_INVALID, "the storage file's ranges are none of the volume, or too many");
  return 0;
}

/* With the epoch held exclusively. */
static void set_certain(struct cow_engine *e, bool certain) {
  pthread_rwlock_wrlock(&e->overlay.lock);
  atomic_store(&e->extents->certain, certain);
  cow_storage_extents_changed(e->storage);
  pthread_rwlock_unlock(&e->overlay.lock);
}

void cow_doubt_storage(struct cow_engine *e) {
  if (!e->extents || !atomic_load(&e->extents->certain))
    return;
  pthread_rwlock_wrlock(&e->epoch);
  set_certain(e, false);
  pthread_rwlock_unlock(&e->epoch);
}

int cow_engine_use_ranges(struct cow_engine *e, const struct cow_extent_range *ranges, size_t count,
                          bool *ret_certain, struct umbra_error *err) {
  int r = 0;
  *ret_certain = false;
  if (!e->extents)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_INVALID, "the volume's storage is not inside it");
  pthread_mutex_lock(&e->control);
  pthread_rwlock_wrlock(&e->epoch);
  if (atomic_load(&e->extents->count) == 0)
    r = take(e, ranges, count, err);
  else if (cow_extents_equal(e->extents, ranges, count)) {
    set_certain(e, true);
    *ret_certain = true;
  } else {
    give_up(e, "the storage file was removed or moved");
    r = error_set(err, -ESTALE, UMBRA_REASON_STORAGE,
                  "the storage file lies elsewhere by now: all shadow copies were dropped");
  }
  pthread_rwlock_unlock(&e->epoch);
  pthread_mutex_unlock(&e->control);
  engine_assert(e);
  return r;
}
