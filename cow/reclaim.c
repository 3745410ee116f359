/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freeing what no live shadow copy needs (DESIGN.md, E7, E8), and dropping shadow copies when there must be room
 * (E11). */
#include "cow/engine-state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct pass {
  struct cow_engine *e;
  struct cow_needing needing;
  uint64_t freed;
};

/*
 * One slot: needed by nobody → out of the map, its key zeroed, its space free, in this order: who finds it in the map
 * may read it, and the next server must not believe the key of a slot that holds something else.
 */
static int visit_slot(uint32_t slot, uint64_t key, void *context) {
  struct pass *p = context;
  struct cow_engine *e = p->e;
  if (cow_key_epoch(key) > p->needing.upto)
    return 0;
  pthread_rwlock_rdlock(&e->map_lock);
  bool needed = cow_shadows_any_between(p->needing.numbers, p->needing.count, cow_map_next_older(&e->map, slot),
                                        cow_key_epoch(key));
  pthread_rwlock_unlock(&e->map_lock);
  if (needed)
    return 0;
  pthread_rwlock_wrlock(&e->map_lock);
  cow_map_remove(&e->map, slot);
  atomic_store_explicit(&e->arena->keys[slot], 0, memory_order_release);
  pthread_rwlock_unlock(&e->map_lock);
  if (e->ledger)
    cow_ledger_forget(e->ledger, slot);
  if (cow_holes_has(&e->holes, slot))
    cow_holes_put(&e->holes, slot);
  else
    cow_storage_put(e->storage, slot);
  p->freed++;
  return 0;
}

/*
 * The present epoch's entries are looked at, too: when the newest shadow copies are gone, nobody needs them, and P
 * goes on saying "covered", which is then true for whoever is left.  Between the reading of a key and the look at the
 * map the slot stays what it is: only this function, under the reclaim lock, frees. A key that is set but not yet in
 * the map is put there under the map's lock together with it.
 *
 * An instant may come at any time, since the reclaimer does not hold the epoch. Its number is greater than every
 * epoch before it, so that it needs no entry of those but its own and later ones: `upto`, read before the list,
 * leaves these out.
 */
static uint64_t free_unneeded(struct cow_engine *e) {
  struct pass p = {.e = e, .needing.upto = cow_epoch_now(e)};
  p.needing.count = cow_shadows_needing(e->arena->header, p.needing.numbers);
  (void)cow_arena_visit_keys(e->arena, visit_slot, &p);
  atomic_fetch_add(&e->reclaim_passes, 1);
  return p.freed + cow_overlay_free(e, &p.needing);
}

bool cow_reclaim_now(struct cow_engine *e, uint64_t passes) {
  pthread_mutex_lock(&e->reclaim);
  bool wanted = e->reclaim_wanted, freed = atomic_load(&e->reclaim_passes) != passes;
  if (wanted)
    freed = free_unneeded(e) > 0 || freed;
  pthread_mutex_unlock(&e->reclaim);
  return freed;
}

void cow_engine_tell(struct cow_engine *e, enum cow_event_kind kind, const char *shadow, const char *why) {
  if (!e->event)
    return;
  struct cow_event event = {.kind = kind};
  (void)snprintf(event.shadow, sizeof event.shadow, "%s", shadow ? shadow : "");
  (void)snprintf(event.why, sizeof event.why, "%s", why);
  e->event(&event, e->event_context);
}

/*
 * A commit does not wait for reclaim: it stores its number while writes stand still. By compare-and-exchange, so that
 * what was found before that is never stored after it: a chunk that the new one needs would be taken for one that
 * nobody needs.
 */
void cow_note_live(struct cow_engine *e) {
  uint32_t before = atomic_load(&e->newest_live), newest;
  do {
    const struct cow_arena_shadow *s = cow_shadows_newest(e->arena->header, 0);
    newest = s ? s->number : 0;
  } while (!atomic_compare_exchange_strong(&e->newest_live, &before, newest));
}

/* Under reclaim. Dropped is stored before anything of it is freed (E8), durably if it was kept (E16). */
static void drop(struct cow_engine *e, struct cow_arena_shadow *s, const char *why) {
  (void)snprintf(s->why, sizeof s->why, "%s", why);
  (void)cow_keep_record(e, s, COW_DISK_DROPPED);
  if (cow_shadow_move(s, COW_SHADOW_EVENT_DROP) < 0)
    return;
  atomic_fetch_sub(&e->live_count, 1);
  atomic_fetch_sub(&e->kept_count, atomic_load(&s->kept) != COW_KEPT_NOT);
  cow_note_live(e);
  cow_engine_tell(e, COW_EVENT_DROPPED, s->id, why);
}

static int drop_one(struct cow_engine *e) {
  uint32_t kept = atomic_load(&e->kept_number);
  struct cow_arena_header *h = e->arena->header;
  if (e->full_policy == COW_FULL_STOP_WRITES)
    return -ENOSPC;
  struct cow_arena_shadow *s =
      e->full_policy == COW_FULL_DROP_NEWEST ? cow_shadows_newest(h, kept) : cow_shadows_oldest(h, kept);
  if (!s)
    return kept ? -ENOSPC : 0;
  drop(e, s, "the storage is full");
  (void)free_unneeded(e);
  return 0;
}

int cow_make_room(struct cow_engine *e) {
  struct cow_storage_status status;
  int r = 0;
  pthread_mutex_lock(&e->reclaim);
  /* Somebody else may have made room while this one waited; what was deleted and not yet freed comes first. */
  if (free_unneeded(e) == 0) {
    cow_storage_status(e->storage, &status);
    if (status.used_bytes >= status.bytes)
      r = drop_one(e);
  }
  pthread_mutex_unlock(&e->reclaim);
  return r;
}

void cow_drop_after(struct cow_engine *e, uint32_t after, const char *why) {
  pthread_mutex_lock(&e->reclaim);
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    struct cow_arena_shadow *s = &e->arena->header->shadows[i];
    if (cow_shadow_state_of(s) == COW_SHADOW_LIVE && s->number > after)
      drop(e, s, why);
  }
  e->reclaim_wanted = true;
  pthread_cond_broadcast(&e->reclaim_change);
  pthread_mutex_unlock(&e->reclaim);
}

void cow_reclaim_wake(struct cow_engine *e) {
  pthread_mutex_lock(&e->reclaim);
  e->reclaim_wanted = true;
  pthread_cond_broadcast(&e->reclaim_change);
  pthread_mutex_unlock(&e->reclaim);
}

/* Not while somebody has it open (deleted by force): its place in the table must not become another's under him. */
static void finish_deleted(struct cow_engine *e) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    if (e->open_counts[i] == 0 && !e->looked_at[i])
      (void)cow_shadow_move(&e->arena->header->shadows[i], COW_SHADOW_EVENT_RECLAIMED);
}

static void *reclaimer_main(void *context) {
  struct cow_engine *e = context;
  pthread_mutex_lock(&e->reclaim);
  while (!e->ending) {
    if (!e->reclaim_wanted) {
      pthread_cond_wait(&e->reclaim_change, &e->reclaim);
      continue;
    }
    e->reclaim_wanted = false;
    (void)free_unneeded(e);
    finish_deleted(e);
    pthread_cond_broadcast(&e->reclaim_change);
    pthread_mutex_unlock(&e->reclaim);
    engine_assert(e);
    pthread_mutex_lock(&e->reclaim);
  }
  pthread_mutex_unlock(&e->reclaim);
  return NULL;
}

void cow_engine_wait_reclaimed(struct cow_engine *e) {
  pthread_mutex_lock(&e->reclaim);
  while (e->reclaim_wanted && !e->ending)
    pthread_cond_wait(&e->reclaim_change, &e->reclaim);
  pthread_mutex_unlock(&e->reclaim);
}

int cow_reclaim_start(struct cow_engine *e, struct umbra_error *err) {
  /* Of a server that died: deleting goes on, dropped ones may have space yet. */
  e->reclaim_wanted = true;
  int r = -pthread_create(&e->reclaimer, NULL, reclaimer_main, e);
  if (r < 0)
    return error_code(err, r, "starting the thread that frees space");
  e->reclaimer_started = true;
  return 0;
}

void cow_reclaim_stop(struct cow_engine *e) {
  if (!e->reclaimer_started)
    return;
  pthread_mutex_lock(&e->reclaim);
  e->ending = true;
  pthread_cond_broadcast(&e->reclaim_change);
  pthread_mutex_unlock(&e->reclaim);
  (void)pthread_join(e->reclaimer, NULL);
  e->reclaimer_started = false;
}
