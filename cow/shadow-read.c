/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a shadow copy (DESIGN.md, E1, E4, E8, E19). */
#include "cow/engine-state.h"

#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t cow_shadow_number(const struct cow_shadow *s) { return s->number; }

int cow_shadow_open(struct cow_engine *e, const char *id, struct cow_shadow **ret, struct umbra_error *err) {
  struct cow_shadow *s = calloc(1, sizeof *s);
  if (!s)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "opening shadow copy %s", id);
  int r = 0;
  pthread_mutex_lock(&e->reclaim);
  struct cow_arena_shadow *entry = cow_shadows_find(e->arena->header, id);
  enum cow_shadow_state state = entry ? cow_shadow_state_of(entry) : COW_SHADOW_FREE;
  if (state == COW_SHADOW_LIVE) {
    *s = (struct cow_shadow){
        .engine = e, .entry = entry, .index = (size_t)(entry - e->arena->header->shadows), .number = entry->number};
    e->open_counts[s->index]++;
  } else if (state == COW_SHADOW_DROPPED)
    r = error_set(err, -EIO, UMBRA_REASON_STORAGE, "shadow copy %s was dropped: %s", id, entry->why);
  else
    r = error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "the volume has no shadow copy %s", id);
  pthread_mutex_unlock(&e->reclaim);
  if (r < 0)
    free(s);
  else
    *ret = s;
  return r;
}

int cow_shadow_open_held(struct cow_engine *e, struct cow_shadow **ret, uint32_t *ret_older) {
  struct cow_shadow *s = calloc(1, sizeof *s);
  if (!s)
    return -ENOMEM;
  struct cow_arena_header *h = e->arena->header;
  pthread_mutex_lock(&e->reclaim);
  struct cow_arena_shadow *entry = cow_shadows_newest(h, 0);
  int r = entry && entry->held && entry->number == cow_epoch_now(e) ? 0 : -ENOENT;
  if (r == 0) {
    const struct cow_arena_shadow *older = cow_shadows_newest(h, entry->number);
    *s = (struct cow_shadow){
        .engine = e, .entry = entry, .index = (size_t)(entry - h->shadows), .number = entry->number, .looks = true};
    *ret_older = older ? older->number : 0;
    e->looked_at[s->index] = true;
  }
  pthread_mutex_unlock(&e->reclaim);
  if (r < 0)
    free(s);
  else
    *ret = s;
  return r;
}

void cow_shadow_close(struct cow_shadow *s) {
  if (!s)
    return;
  struct cow_engine *e = s->engine;
  pthread_mutex_lock(&e->reclaim);
  if (s->looks)
    e->looked_at[s->index] = false;
  else
    e->open_counts[s->index]--;
  if (e->open_counts[s->index] == 0)
    e->reclaim_wanted |= cow_shadow_state_of(s->entry) == COW_SHADOW_DELETING; /* meanwhile */
  pthread_cond_broadcast(&e->reclaim_change);
  pthread_mutex_unlock(&e->reclaim);
  free(s);
}

enum place { IN_ORIGIN, IN_ENTRY, IN_HOLE, IN_OVERLAY };

/* Where one chunk lies for the shadow copy; *ret_slot unless it is the origin. Under the map's lock. */
static enum place find(const struct cow_shadow *s, uint64_t chunk, uint32_t *ret_slot) {
  const struct cow_engine *e = s->engine;
  if (!s->looks && (*ret_slot = cow_overlay_find(&e->overlay, chunk, s->number)) != COW_SLOT_NONE)
    return IN_OVERLAY;
  *ret_slot = cow_map_find(&e->map, chunk, s->number);
  return *ret_slot == COW_SLOT_NONE ? IN_ORIGIN : cow_holes_has(&e->holes, *ret_slot) ? IN_HOLE : IN_ENTRY;
}

/* How many chunks from chunk on (of count) lie together, where, and in slots in a row from which on. */
static uint64_t find_run(const struct cow_shadow *s, uint64_t chunk, uint64_t count, enum place *ret,
                         uint32_t *ret_slot) {
  uint64_t run = 1;
  uint32_t slot;
  pthread_rwlock_rdlock(&s->engine->map_lock);
  *ret = find(s, chunk, ret_slot);
  while (run < count && find(s, chunk + run, &slot) == *ret && (*ret == IN_ORIGIN || slot == *ret_slot + run))
    run++;
  pthread_rwlock_unlock(&s->engine->map_lock);
  return run;
}

uint64_t cow_shadow_run(const struct cow_shadow *s, uint64_t chunk, uint64_t count, bool *ret_hole) {
  uint32_t slot;
  enum place place;
  uint64_t run = find_run(s, chunk, count, &place, &slot);
  *ret_hole = place == IN_HOLE;
  return run;
}

/* One run of [offset, offset + length): zeros, from storage, or from the origin if that has not been overwritten
 * meanwhile (E4). */
static int read_run(const struct cow_shadow *s, unsigned char *buffer, uint64_t length, uint64_t offset,
                    uint64_t *ret_done) {
  struct cow_engine *e = s->engine;
  const uint32_t chunk_bytes = e->geometry.chunk_bytes;
  uint64_t chunk = offset / chunk_bytes, last = (offset + length - 1) / chunk_bytes;
  uint32_t slot;
  enum place place, now;
  uint64_t run = find_run(s, chunk, last - chunk + 1, &place, &slot);
  uint64_t end = (chunk + run) * chunk_bytes, bytes = end - offset < length ? end - offset : length;
  *ret_done = bytes;
  if (place == IN_HOLE) {
    memset(buffer, 0, bytes);
    return 0;
  }
  if (place == IN_OVERLAY)
    return cow_storage_read(e->storage, slot, offset % chunk_bytes, buffer, bytes);
  int r = place == IN_ENTRY ? cow_keep_read(e, slot, offset % chunk_bytes, buffer, bytes)
                            : fd_pread_all(e->origin_fd, buffer, bytes, offset);
  if (r >= 0 && e->extents)
    cow_mask_storage(e, buffer, offset, bytes);
  if (r < 0 || place == IN_ENTRY)
    return r;
  uint64_t still = find_run(s, chunk, run, &now, &slot);
  if (now != IN_ORIGIN)
    *ret_done = 0; /* overwritten while it was read: once more, and this time there is an entry */
  else if (still < run)
    *ret_done = (chunk + still) * chunk_bytes - offset;
  return 0;
}

bool cow_shadow_in_range(const struct cow_shadow *s, size_t length_bytes, uint64_t offset_bytes) {
  uint64_t volume_bytes = s->engine->geometry.volume_bytes;
  return length_bytes % COW_SECTOR_BYTES == 0 && offset_bytes % COW_SECTOR_BYTES == 0 &&
         length_bytes <= COW_REQUEST_BYTES_MAX && offset_bytes <= volume_bytes &&
         length_bytes <= volume_bytes - offset_bytes;
}

static bool is_live(const struct cow_shadow *s) {
  return cow_shadow_state_of(s->entry) == COW_SHADOW_LIVE && s->entry->number == s->number;
}

int cow_shadow_read(struct cow_shadow *s, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  struct cow_engine *e = s->engine;
  if (!cow_shadow_in_range(s, length_bytes, offset_bytes))
    return -EINVAL;
  if (!e->extents)
    return cow_shadow_read_range(s, buffer, length_bytes, offset_bytes);
  /* Where slots lie may change once it is dropped (E22). */
  pthread_rwlock_rdlock(&e->overlay.lock);
  int r = is_live(s) ? cow_shadow_read_range(s, buffer, length_bytes, offset_bytes) : -EIO;
  pthread_rwlock_unlock(&e->overlay.lock);
  return r;
}

int cow_shadow_read_range(struct cow_shadow *s, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  for (size_t done = 0; done < length_bytes;) {
    uint64_t part = 0;
    int r = read_run(s, (unsigned char *)buffer + done, length_bytes - done, offset_bytes + done, &part);
    if (r < 0)
      return r;
    done += part;
  }
  /* After the reads: what was freed and used anew meanwhile is not handed out (E8). */
  return is_live(s) ? 0 : -EIO;
}
