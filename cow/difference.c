/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What changed between two instants, and going back to one. Both follow from E1 and E7: the least entry ≥ s of a
 * chunk is kept while s is. */
#include "cow/engine-state.h"

#include "common/bitmap.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>

/* A chunk that was written after s has an entry ≥ s; it was written before t if the least of them is < t. */
struct changed {
  struct bitmap chunks;
  uint32_t from, to;
};

static int note_key(uint32_t slot, uint64_t key, void *context) {
  (void)slot;
  struct changed *c = context;
  uint32_t epoch = cow_key_epoch(key);
  if (epoch >= c->from && epoch < c->to)
    bitmap_set(&c->chunks, cow_key_chunk(key));
  return 0;
}

/* What lies over one of the two is no change of the volume, but of what it shows (E19). */
static int note_overlay(uint32_t slot, uint64_t key, void *context) {
  (void)slot;
  struct changed *c = context;
  if (cow_key_epoch(key) == c->from || cow_key_epoch(key) == c->to)
    bitmap_set(&c->chunks, cow_key_chunk(key));
  return 0;
}

static int find_number(struct cow_engine *e, const char *id, uint32_t *ret, struct umbra_error *err) {
  const struct cow_arena_shadow *s = cow_shadows_find(e->arena->header, id);
  if (!s || cow_shadow_state_of(s) != COW_SHADOW_LIVE)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "the volume has no shadow copy %s, or it was dropped", id);
  *ret = s->number;
  return 0;
}

/* Keys come and go meanwhile, but the one that decides about a chunk stays as long as `from` is live. Caller:
 * bitmap_done(). */
static int find_changed(struct cow_engine *e, const char *from, const char *to, struct changed *c,
                        struct umbra_error *err) {
  c->to = COW_NUMBER_MAX + 1;
  int r = find_number(e, from, &c->from, err);
  if (r >= 0 && to)
    r = find_number(e, to, &c->to, err);
  if (r >= 0 && c->from >= c->to)
    r = error_set(err, -EINVAL, UMBRA_REASON_INVALID, "shadow copy %s is not older than %s", from, to);
  if (r < 0)
    return r;
  if (bitmap_init(&c->chunks, cow_chunk_count(&e->geometry)) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "memory for the changed chunks");
  r = cow_arena_visit_keys(e->arena, note_key, c);
  return r == 0 ? cow_arena_visit_overlays(e->arena, note_overlay, c) : r;
}

/* Being open keeps a shadow copy from being deleted, not from being dropped: then keys may have gone before they were
 * seen. */
static int still_live(struct cow_engine *e, const char *id, uint32_t number, struct umbra_error *err) {
  uint32_t now = 0;
  int r = find_number(e, id, &now, err);
  return r < 0 || now != number
             ? error_set(err, -EIO, UMBRA_REASON_STORAGE, "shadow copy %s was dropped meanwhile", id)
             : 0;
}

/* The shadow copies keep what is asked about while they are open. */
static void close_both(struct cow_shadow *both[2]) {
  cow_shadow_close(both[0]);
  cow_shadow_close(both[1]);
}

int cow_engine_difference(struct cow_engine *e, const char *from, const char *to,
                          int (*visit)(uint64_t offset_bytes, uint64_t length_bytes, void *context), void *context,
                          struct umbra_error *err) {
  struct cow_shadow *open[2] = {NULL, NULL};
  struct changed c = {0};
  int r = cow_shadow_open(e, from, &open[0], err);
  if (r >= 0 && to)
    r = cow_shadow_open(e, to, &open[1], err);
  if (r >= 0)
    r = find_changed(e, from, to, &c, err);
  if (r >= 0)
    r = still_live(e, from, c.from, err);
  uint64_t at = 0, first, count;
  while (r == 0 && bitmap_next_run(&c.chunks, at, UINT64_MAX, &first, &count)) {
    uint64_t begin = first * e->geometry.chunk_bytes, end = (first + count) * e->geometry.chunk_bytes;
    if (end > e->geometry.volume_bytes)
      end = e->geometry.volume_bytes;
    r = visit(begin, end - begin, context);
    at = first + count;
  }
  bitmap_done(&c.chunks);
  close_both(open);
  return r;
}

struct revert {
  struct cow_engine *engine;
  struct cow_shadow *shadow;
  unsigned char *buffer;
  uint64_t done_bytes;
  bool (*go_on)(void *context);
  void *context;
};

/* But for what is storage (E21). */
static int write_around(struct cow_engine *e, const unsigned char *buffer, uint64_t length_bytes,
                        uint64_t offset_bytes) {
  int r = 0;
  for (uint64_t done = 0; done < length_bytes && r >= 0;) {
    uint64_t at = offset_bytes + length_bytes, skipped = 0, from = offset_bytes + done;
    if (e->extents) {
      pthread_rwlock_rdlock(&e->overlay.lock);
      (void)cow_extents_overlap(e->extents, from, length_bytes - done, &at, &skipped);
      pthread_rwlock_unlock(&e->overlay.lock);
    }
    if (at > from)
      r = cow_engine_write(e, buffer + done, at - from, from);
    done = at + skipped - offset_bytes;
  }
  return r;
}

/* Ranges are of whole chunks. What was free then is left as it is (E18). */
static int put_back(uint64_t offset_bytes, uint64_t length_bytes, void *context) {
  struct revert *v = context;
  const uint32_t chunk_bytes = v->engine->geometry.chunk_bytes;
  for (uint64_t done = 0, piece; done < length_bytes; done += piece) {
    uint64_t left = length_bytes - done;
    bool hole = false;
    if (!v->go_on(v->context))
      return -ECANCELED;
    piece = left < COW_REQUEST_BYTES_MAX ? left : COW_REQUEST_BYTES_MAX;
    uint64_t run = cow_shadow_run(v->shadow, (offset_bytes + done) / chunk_bytes,
                                  (piece + chunk_bytes - 1) / chunk_bytes, &hole) *
                   chunk_bytes;
    piece = run < piece ? run : piece;
    if (hole)
      continue;
    int r = cow_shadow_read(v->shadow, v->buffer, piece, offset_bytes + done);
    if (r >= 0)
      r = write_around(v->engine, v->buffer, piece, offset_bytes + done);
    if (r < 0)
      return r;
    v->done_bytes += piece;
  }
  return 0;
}

static bool always(void *context) {
  (void)context;
  return true;
}

int cow_engine_revert(struct cow_engine *e, const char *id, bool (*go_on)(void *context), void *context,
                      uint64_t *ret_bytes, struct umbra_error *err) {
  struct revert v = {.engine = e, .go_on = go_on ? go_on : always, .context = context};
  int r = cow_shadow_open(e, id, &v.shadow, err);
  if (r < 0)
    return r;
  /* What it overwrites is copied out, too: not at the price of the one that is wanted. -ENOSPC then, and it can be
   * done again. Two at once would leave a mixture. */
  uint32_t nobody = 0;
  if (!atomic_compare_exchange_strong(&e->kept_number, &nobody, cow_shadow_number(v.shadow))) {
    cow_shadow_close(v.shadow);
    return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "another revert of the volume is under way");
  }
  v.buffer = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_REQUEST_BYTES_MAX);
  r = v.buffer ? cow_engine_difference(e, id, NULL, put_back, &v, err) : -ENOMEM;
  if (r >= 0)
    r = cow_engine_flush(e);
  if (r < 0 && (!err || err->code == 0))
    (void)error_code(err, r, "putting back what shadow copy %s holds", id);
  atomic_store(&e->kept_number, 0);
  if (ret_bytes)
    *ret_bytes = v.done_bytes;
  free(v.buffer);
  cow_shadow_close(v.shadow);
  return r;
}
