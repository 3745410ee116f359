/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying old data out before it is overwritten (DESIGN.md, E2, E3, E11). */
#include "cow/engine-state.h"

#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool all_covered(const _Atomic uint64_t *p, uint64_t first, uint64_t last) {
  for (uint64_t c = first; c <= last; c++)
    if (!cow_is_covered(p, c))
      return false;
  return true;
}

static void set_covered(_Atomic uint64_t *p, uint64_t first, uint64_t count) {
  for (uint64_t c = first; c < first + count; c++)
    atomic_fetch_or_explicit(&p[c / 64], UINT64_C(1) << (c % 64), memory_order_acq_rel);
}

/* The stripes of a request are at most REQUEST_BYTES_MAX / CHUNK_BYTES_MIN / STRIPE_CHUNKS + 1, fewer than there are:
 * each once. */
_Static_assert(COW_REQUEST_BYTES_MAX / COW_CHUNK_BYTES_MIN / COW_STRIPE_CHUNKS + 2 < COW_STRIPES,
               "a request has each stripe once");

/* Ascending, as their rank wants it: what wrapped round comes first. */
static void with_stripes(struct cow_engine *e, uint64_t first, uint64_t last, int (*operation)(pthread_mutex_t *)) {
  uint64_t low = first / COW_STRIPE_CHUNKS, high = last / COW_STRIPE_CHUNKS;
  uint64_t wrap = (low / COW_STRIPES + 1) * COW_STRIPES;
  for (uint64_t i = wrap; i <= high; i++)
    operation(&e->stripes[i % COW_STRIPES]);
  for (uint64_t i = low; i <= high && i < wrap; i++)
    operation(&e->stripes[i % COW_STRIPES]);
}

static unsigned char *take_buffer(struct cow_engine *e) {
  pthread_mutex_lock(&e->buffers_lock);
  while (e->free_buffer_count == 0)
    pthread_cond_wait(&e->buffer_free, &e->buffers_lock);
  unsigned i = e->free_buffers[--e->free_buffer_count];
  pthread_mutex_unlock(&e->buffers_lock);
  return e->buffers + (size_t)i * COW_COPY_BYTES_MAX;
}

static void give_buffer(struct cow_engine *e, const unsigned char *buffer) {
  pthread_mutex_lock(&e->buffers_lock);
  e->free_buffers[e->free_buffer_count++] = (unsigned)((size_t)(buffer - e->buffers) / COW_COPY_BYTES_MAX);
  pthread_cond_signal(&e->buffer_free);
  pthread_mutex_unlock(&e->buffers_lock);
}

/* Those who need the chunks as they are now are the ones after the newest entry that any of the chunks has. */
static void lose(struct cow_engine *e, uint64_t first, uint64_t count, const char *what, int code) {
  uint32_t after = UINT32_MAX;
  pthread_rwlock_rdlock(&e->map_lock);
  for (uint64_t c = first; c < first + count; c++) {
    uint32_t newest = cow_map_newest(&e->map, c);
    after = newest < after ? newest : after;
  }
  pthread_rwlock_unlock(&e->map_lock);
  char why[sizeof((struct cow_event *)0)->why];
  (void)snprintf(why, sizeof why, "%s: %s", what, strerror(-code));
  cow_drop_after(e, after, why);
}

/* Publishes: keys first (what the next server believes), then the map, then P. */
static void publish(struct cow_engine *e, uint64_t chunk, uint32_t slot, uint32_t count) {
  uint32_t epoch = cow_epoch_now(e);
  pthread_rwlock_wrlock(&e->map_lock);
  for (uint32_t i = 0; i < count; i++) {
    assert(cow_map_newest(&e->map, chunk + i) < epoch); /* E2 */
    atomic_store_explicit(&e->arena->keys[slot + i], cow_key(chunk + i, epoch), memory_order_release);
    cow_map_insert(&e->map, slot + i, false);
  }
  pthread_rwlock_unlock(&e->map_lock);
  set_covered(cow_covered(e), chunk, count);
  atomic_fetch_add_explicit(&e->chunks_copied, count, memory_order_relaxed);
}

/* Slots for some of count chunks. 0: nobody needs them any more, or *ret_count > 0. */
static int get_slots(struct cow_engine *e, uint32_t count, uint32_t *ret_slot, uint32_t *ret_count) {
  *ret_count = 0;
  while (atomic_load(&e->live_count) > 0) {
    int r = cow_storage_get(e->storage, count, ret_slot, ret_count);
    if (r != -ENOSPC)
      return r;
    r = cow_make_room(e);
    if (r < 0)
      return r;
  }
  return 0;
}

/* How many of count chunks from chunk on are alike: needed by a live shadow copy, or by none. */
static uint32_t find_alike(struct cow_engine *e, uint64_t chunk, uint32_t count, bool *ret_needed) {
  uint32_t newest = atomic_load_explicit(&e->newest_live, memory_order_acquire), run = 1;
  pthread_rwlock_rdlock(&e->map_lock);
  *ret_needed = newest > cow_map_newest(&e->map, chunk);
  while (run < count && (newest > cow_map_newest(&e->map, chunk + run)) == *ret_needed)
    run++;
  pthread_rwlock_unlock(&e->map_lock);
  return run;
}

/* Copies count chunks in a row, none of which is covered, their stripes held. */
static int copy_run(struct cow_engine *e, uint64_t chunk, uint32_t count, unsigned char *buffer) {
  uint32_t chunk_bytes = e->geometry.chunk_bytes;
  uint64_t bytes = (uint64_t)(count - 1) * chunk_bytes + cow_chunk_length(&e->geometry, chunk + count - 1);
  int r = fd_pread_all(e->origin_fd, buffer, bytes, chunk * chunk_bytes);
  if (r < 0) {
    lose(e, chunk, count, "old data could not be read", r);
    return 0;
  }
  for (uint32_t done = 0; done < count;) {
    uint32_t slot = 0, got = 0;
    r = get_slots(e, count - done, &slot, &got);
    if (r == -ENOSPC)
      return r; /* writes are to stop */
    if (r >= 0 && got == 0)
      return 0; /* nobody is left who needs it */
    if (r >= 0)
      r = cow_storage_write(e->storage, slot, got, buffer + (size_t)done * chunk_bytes);
    if (r < 0) {
      for (uint32_t i = 0; i < got; i++)
        cow_storage_put(e->storage, slot + i);
      lose(e, chunk + done, count - done, "old data could not be stored", r);
      return 0;
    }
    publish(e, chunk + done, slot, got);
    done += got;
  }
  return 0;
}

static void warn_once(struct cow_engine *e) {
  struct cow_storage_status status;
  cow_storage_status(e->storage, &status);
  if (!status.over_warning)
    atomic_store(&e->warned, false);
  else if (!atomic_exchange(&e->warned, true))
    cow_engine_tell(e, COW_EVENT_STORAGE_HIGH, NULL, "the storage is nearly full");
}

int cow_cover(struct cow_engine *e, uint64_t first, uint64_t last) {
  if (atomic_load_explicit(&e->live_count, memory_order_acquire) == 0 || all_covered(cow_covered(e), first, last))
    return 0;
  const uint32_t run_max = COW_COPY_BYTES_MAX / e->geometry.chunk_bytes;
  unsigned char *buffer = take_buffer(e);
  _Atomic uint64_t *p = cow_covered(e);
  int r = 0;
  with_stripes(e, first, last, pthread_mutex_lock);
  for (uint64_t c = first; c <= last && r == 0;) {
    uint32_t count = 0;
    while (c + count <= last && count < run_max && !cow_is_covered(p, c + count))
      count++;
    bool needed = false;
    if (count > 0)
      count = find_alike(e, c, count, &needed);
    if (needed)
      r = copy_run(e, c, count, buffer);
    else
      set_covered(p, c, count);
    c += count > 0 ? count : 1;
  }
  with_stripes(e, first, last, pthread_mutex_unlock);
  give_buffer(e, buffer);
  if (r == 0)
    warn_once(e);
  return r;
}
