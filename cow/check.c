/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The invariants of DESIGN.md that can be seen in the engine's memory at one moment.  E1 and E4 need the data: that
 * is what the oracle of the unit tests compares.
 */
#include "cow/engine-state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keys {
  const struct cow_engine *e;
  uint64_t count;
};

static int check_key(uint32_t slot, uint64_t key, void *context) {
  struct keys *k = context;
  k->count++;
  return slot >= k->e->map.slots_max || cow_key_chunk(key) >= cow_chunk_count(&k->e->geometry) ||
         cow_key_epoch(key) == 0 || cow_key_epoch(key) > cow_epoch_now(k->e);
}

/* The map is rebuilt from the keys by the next server, so they must say the same. */
static const char *check_entries(struct cow_engine *e) {
  struct keys k = {.e = e};
  struct cow_storage_status status;
  cow_storage_status(e->storage, &status);
  if (!cow_map_check(&e->map))
    return "E2: entries of a chunk are not in the order of their epochs, or not where they are looked for";
  if (cow_arena_visit_keys(e->arena, check_key, &k) != 0)
    return "E2: an entry of no chunk, or of an epoch that has not begun";
  if (k.count != e->map.count)
    return "E12: the table that the next server would believe is not the one in use";
  uint64_t slots = e->map.count - cow_holes_used(&e->holes) + e->overlay.map.count;
  if (slots * e->geometry.chunk_bytes != status.used_bytes)
    return "E8: more or fewer slots are in use than entries and overlays have";
  return NULL;
}

static int check_overlay_key(uint32_t slot, uint64_t key, void *context) {
  struct keys *k = context;
  const struct cow_arena_header *h = k->e->arena->header;
  bool owned = false;
  k->count++;
  for (size_t i = 0; i < COW_SHADOWS_MAX && !owned; i++)
    owned = h->shadows[i].number == cow_key_epoch(key) && cow_shadow_state_of(&h->shadows[i]) != COW_SHADOW_FREE &&
            atomic_load(&h->shadows[i].kept) == COW_KEPT_NOT;
  return !owned || cow_key_chunk(key) >= cow_chunk_count(&k->e->geometry) ||
         atomic_load(&k->e->arena->keys[slot]) != 0;
}

static const char *check_overlays(struct cow_engine *e) {
  struct keys k = {.e = e};
  if (!cow_map_check(&e->overlay.map))
    return "E19: an overlay has a chunk twice, or not where it is looked for";
  if (cow_arena_visit_overlays(e->arena, check_overlay_key, &k) != 0)
    return "E19: a part of an overlay is of no shadow copy, of one to be kept, or in an entry's slot";
  return k.count == e->overlay.map.count ? NULL
                                         : "E12: the overlays that the next server would find are not those in use";
}

static int check_covered_chunk(uint64_t chunk, void *context) {
  const struct cow_engine *e = context;
  return chunk >= cow_chunk_count(&e->geometry) || cow_map_newest(&e->map, chunk) != cow_epoch_now(e);
}

/* If the present epoch's shadow copy is live it needs each chunk that is written. */
static const char *check_covered(struct cow_engine *e) {
  uint64_t instant = atomic_load(&e->arena->header->instant);
  if (cow_epoch_now(e) == 0 || atomic_load(&e->newest_live) != cow_epoch_now(e))
    return NULL;
  return cow_arena_visit_covered(e->arena, COW_REGION_COVERED_A + (instant & 1), check_covered_chunk, e) != 0
             ? "E3: a chunk is covered without an entry"
             : NULL;
}

static bool is_made(const struct cow_arena_shadow *s) {
  return cow_shadow_state_of(s) == COW_SHADOW_LIVE || cow_shadow_state_of(s) == COW_SHADOW_BEGUN;
}

/* Of damaged storage two dropped ones may be left of one name. */
static bool is_alike(const struct cow_arena_shadow *a, const struct cow_arena_shadow *b) {
  return cow_shadow_state_of(b) != COW_SHADOW_FREE && (is_made(a) || is_made(b)) &&
         (a->number == b->number || strcmp(a->id, b->id) == 0);
}

static const char *check_table(struct cow_engine *e) {
  const struct cow_arena_header *h = e->arena->header;
  uint32_t live = 0, kept = 0, newest = 0, begun = 0;
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    const struct cow_arena_shadow *s = &h->shadows[i];
    enum cow_shadow_state state = cow_shadow_state_of(s);
    if (state == COW_SHADOW_FREE)
      continue;
    begun += state == COW_SHADOW_BEGUN;
    if (state >= COW_SHADOW_STATES || begun > 1 || s->number == 0 || s->number >= h->next_number ||
        (state == COW_SHADOW_BEGUN) != (s->number > cow_epoch_now(e)))
      return "a shadow copy's state does not go with its number";
    for (size_t n = i + 1; n < COW_SHADOWS_MAX; n++)
      if (is_alike(s, &h->shadows[n]))
        return "two shadow copies have one number or one id";
    if (atomic_load(&s->kept) != COW_KEPT_NOT && !e->ledger)
      return "E15: a shadow copy is to be kept without a ledger";
    if (state != COW_SHADOW_LIVE)
      continue;
    live++;
    kept += atomic_load(&s->kept) != COW_KEPT_NOT;
    newest = s->number > newest ? s->number : newest;
  }
  if (live != atomic_load(&e->live_count) || kept != atomic_load(&e->kept_count) ||
      newest != atomic_load(&e->newest_live))
    return "what is known of the live shadow copies is not what the table says";
  return NULL;
}

const char *cow_engine_check(struct cow_engine *e) {
  pthread_mutex_lock(&e->control);
  pthread_rwlock_wrlock(&e->epoch);
  pthread_mutex_lock(&e->reclaim);
  pthread_rwlock_wrlock(&e->overlay.lock);
  pthread_rwlock_rdlock(&e->map_lock);
  const char *broken = check_entries(e);
  if (!broken)
    broken = check_overlays(e);
  if (!broken)
    broken = check_covered(e);
  if (!broken)
    broken = check_table(e);
  pthread_rwlock_unlock(&e->map_lock);
  pthread_rwlock_unlock(&e->overlay.lock);
  pthread_mutex_unlock(&e->reclaim);
  pthread_rwlock_unlock(&e->epoch);
  pthread_mutex_unlock(&e->control);
  return broken;
}

#ifdef COW_ENGINE_ASSERT
void engine_assert(struct cow_engine *e) {
  const char *broken = cow_engine_check(e);
  if (!broken)
    return;
  (void)fprintf(stderr, "umbra-cow: %s\n", broken);
  abort();
}
#endif
