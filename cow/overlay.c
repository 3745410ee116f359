/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was written to shadow copies (DESIGN.md, E19): slots of their own, found by chunk and number. */
#include "cow/overlay.h"

#include "cow/engine-state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int cow_overlay_init(struct cow_overlay *o, const struct cow_arena *arena) {
  pthread_rwlockattr_t writer_first;
  pthread_rwlockattr_init(&writer_first);
  /* Who frees has a volume's write waiting for room: not behind a stream of writes to shadow copies. */
  pthread_rwlockattr_setkind_np(&writer_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&o->lock, &writer_first);
  pthread_rwlockattr_destroy(&writer_first);
  for (size_t i = 0; i < COW_OVERLAY_STRIPES; i++)
    pthread_mutex_init(&o->stripes[i], NULL);
  return cow_map_init(&o->map, arena->overlays, arena->header->slots_max);
}

void cow_overlay_done(struct cow_overlay *o) {
  cow_map_done(&o->map);
  for (size_t i = 0; i < COW_OVERLAY_STRIPES; i++)
    pthread_mutex_destroy(&o->stripes[i]);
  pthread_rwlock_destroy(&o->lock);
}

uint32_t cow_overlay_find(const struct cow_overlay *o, uint64_t chunk, uint32_t number) {
  if (o->map.count == 0)
    return COW_SLOT_NONE;
  uint32_t slot = cow_map_find(&o->map, chunk, number);
  bool is_its = slot != COW_SLOT_NONE && atomic_load(&o->map.keys[slot]) == cow_key(chunk, number);
  return is_its ? slot : COW_SLOT_NONE;
}

static int take_over(uint32_t slot, uint64_t key, void *context) {
  struct cow_engine *e = context;
  if (slot >= e->overlay.map.slots_max || cow_key_chunk(key) >= cow_chunk_count(&e->geometry) ||
      cow_key_epoch(key) == 0 || cow_key_epoch(key) > cow_epoch_now(e) ||
      cow_overlay_find(&e->overlay, cow_key_chunk(key), cow_key_epoch(key)) != COW_SLOT_NONE)
    return -EUCLEAN;
  int r = cow_storage_claim(e->storage, slot);
  if (r == 0)
    cow_map_insert(&e->overlay.map, slot, true);
  return r;
}

int cow_overlay_take_over(struct cow_engine *e) { return cow_arena_visit_overlays(e->arena, take_over, e); }

static atomic_bool *told_full(struct cow_engine *e, const struct cow_arena_shadow *s) {
  return &e->overlay.told_full[s - e->arena->header->shadows];
}

int cow_engine_make_writable(struct cow_engine *e, const char *id, struct umbra_error *err) {
  int r = 0;
  pthread_mutex_lock(&e->control);
  struct cow_arena_shadow *s = cow_shadows_find(e->arena->header, id);
  if (!s || cow_shadow_state_of(s) != COW_SHADOW_BEGUN)
    r = error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "shadow copy %s is not begun", id);
  else if (atomic_load(&s->kept) != COW_KEPT_NOT)
    r = error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                  "what is written to a shadow copy does not outlive the machine's run: it cannot be persistent and "
                  "writable");
  else {
    atomic_store(told_full(e, s), false);
    atomic_store(&s->writable, true);
  }
  pthread_mutex_unlock(&e->control);
  return r;
}

int cow_engine_seal(struct cow_engine *e, const char *id, struct umbra_error *err) {
  int r = 0;
  pthread_mutex_lock(&e->reclaim);
  struct cow_arena_shadow *s = cow_shadows_find(e->arena->header, id);
  enum cow_shadow_state state = s ? cow_shadow_state_of(s) : COW_SHADOW_FREE;
  if (state == COW_SHADOW_DROPPED)
    r = error_set(err, -EIO, UMBRA_REASON_STORAGE, "shadow copy %s was dropped: %s", id, s->why);
  else if (state != COW_SHADOW_LIVE)
    r = error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "the volume has no shadow copy %s", id);
  else {
    /* Writes under way end before it, later ones find it sealed. */
    pthread_rwlock_wrlock(&e->overlay.lock);
    atomic_store(&s->writable, false);
    pthread_rwlock_unlock(&e->overlay.lock);
  }
  pthread_mutex_unlock(&e->reclaim);
  engine_assert(e);
  return r;
}

/* The slot holds all of the chunk. */
static void publish(struct cow_engine *e, uint64_t chunk, uint32_t number, uint32_t slot) {
  pthread_rwlock_wrlock(&e->map_lock);
  assert(number <= cow_epoch_now(e) && atomic_load(&e->arena->keys[slot]) == 0 &&
         cow_overlay_find(&e->overlay, chunk, number) == COW_SLOT_NONE); /* E19 */
  atomic_store_explicit(&e->arena->overlays[slot], cow_key(chunk, number), memory_order_release);
  cow_map_insert(&e->overlay.map, slot, true);
  pthread_rwlock_unlock(&e->map_lock);
}

/* The first write to a chunk: what it had, but for the part that is new. Under its stripe. */
static int write_first(struct cow_shadow *s, uint64_t chunk, uint32_t at, const void *buffer, uint32_t bytes) {
  _Alignas(COW_BUFFER_ALIGNMENT) unsigned char whole[COW_CHUNK_BYTES_MAX];
  struct cow_engine *e = s->engine;
  uint32_t slot, length = cow_chunk_length(&e->geometry, chunk);
  int r = cow_storage_get_spare(e->storage, &slot);
  if (r < 0)
    return r;
  atomic_store(told_full(e, s->entry), false);
  memset(whole + length, 0, e->geometry.chunk_bytes - length);
  r = bytes < length ? cow_shadow_read_range(s, whole, length, chunk * e->geometry.chunk_bytes) : 0;
  memcpy(whole + at, buffer, bytes);
  if (r >= 0)
    r = cow_storage_write(e->storage, slot, 0, whole, e->geometry.chunk_bytes);
  if (r < 0)
    cow_storage_put(e->storage, slot);
  else
    publish(e, chunk, s->number, slot);
  return r;
}

/* Into one chunk. */
static int write_chunk(struct cow_shadow *s, uint64_t chunk, uint32_t at, const void *buffer, uint32_t bytes) {
  struct cow_engine *e = s->engine;
  struct cow_overlay *o = &e->overlay;
  pthread_rwlock_rdlock(&o->lock);
  int r = 0;
  if (cow_shadow_state_of(s->entry) != COW_SHADOW_LIVE || s->entry->number != s->number)
    r = -EIO;
  else if (!atomic_load(&s->entry->writable))
    r = -EROFS;
  if (r == 0) {
    pthread_mutex_lock(&o->stripes[chunk % COW_OVERLAY_STRIPES]);
    pthread_rwlock_rdlock(&e->map_lock);
    uint32_t slot = cow_overlay_find(o, chunk, s->number);
    pthread_rwlock_unlock(&e->map_lock);
    r = slot == COW_SLOT_NONE ? write_first(s, chunk, at, buffer, bytes)
                              : cow_storage_write(e->storage, slot, at, buffer, bytes);
    pthread_mutex_unlock(&o->stripes[chunk % COW_OVERLAY_STRIPES]);
  }
  pthread_rwlock_unlock(&o->lock);
  return r;
}

/* Once as long as it lasts. */
static void tell_full(struct cow_shadow *s) {
  if (!atomic_exchange(told_full(s->engine, s->entry), true))
    cow_engine_tell(s->engine, COW_EVENT_NOT_WRITTEN, s->entry->id,
                    "a write to it failed: what is left of the storage is for old data");
}

bool cow_shadow_writable(const struct cow_shadow *s) { return atomic_load(&s->entry->writable); }

int cow_shadow_write(struct cow_shadow *s, const void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  const uint32_t chunk_bytes = s->engine->geometry.chunk_bytes;
  if (!cow_shadow_in_range(s, length_bytes, offset_bytes))
    return -EINVAL;
  int r = 0;
  for (size_t done = 0; done < length_bytes && r >= 0;) {
    uint64_t chunk = (offset_bytes + done) / chunk_bytes;
    uint32_t at = (uint32_t)((offset_bytes + done) % chunk_bytes), room = chunk_bytes - at;
    uint32_t bytes = length_bytes - done < room ? (uint32_t)(length_bytes - done) : room;
    uint64_t passes = atomic_load(&s->engine->reclaim_passes);
    r = write_chunk(s, chunk, at, (const unsigned char *)buffer + done, bytes);
    if (r == -ENOSPC && cow_reclaim_now(s->engine, passes))
      r = write_chunk(s, chunk, at, (const unsigned char *)buffer + done, bytes);
    done += bytes;
  }
  if (r == -ENOSPC)
    tell_full(s);
  return r;
}

struct freeing {
  struct cow_engine *e;
  const struct cow_needing *needing;
  uint64_t freed;
};

static int free_slot(uint32_t slot, uint64_t key, void *context) {
  struct freeing *f = context;
  struct cow_engine *e = f->e;
  uint32_t number = cow_key_epoch(key);
  if (number > f->needing->upto ||
      cow_shadows_any_between(f->needing->numbers, f->needing->count, number - 1, number))
    return 0;
  pthread_rwlock_wrlock(&e->map_lock);
  cow_map_remove(&e->overlay.map, slot);
  atomic_store_explicit(&e->arena->overlays[slot], 0, memory_order_release);
  pthread_rwlock_unlock(&e->map_lock);
  cow_storage_put(e->storage, slot);
  f->freed++;
  return 0;
}

uint64_t cow_overlay_free(struct cow_engine *e, const struct cow_needing *needing) {
  struct freeing f = {.e = e, .needing = needing};
  /* No write that found a shadow copy live before it was dropped is still on its way to a slot. */
  pthread_rwlock_wrlock(&e->overlay.lock);
  if (e->overlay.map.count > 0)
    (void)cow_arena_visit_overlays(e->arena, free_slot, &f);
  pthread_rwlock_unlock(&e->overlay.lock);
  return f.freed;
}
