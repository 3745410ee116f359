/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/engine.h"

#include "common/clock.h"
#include "common/fd.h"
#include "cow/engine-state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ZERO_BYTES_MAX = 256 << 20 }; /* for so long, at most, an instant waits for a discard */

static int init_locks(struct cow_engine *e) {
  pthread_rwlockattr_t writer_first;
  pthread_rwlockattr_init(&writer_first);
  /* An instant must not wait for a stream of writes to pause by itself. */
  pthread_rwlockattr_setkind_np(&writer_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&e->epoch, &writer_first);
  pthread_rwlockattr_destroy(&writer_first);
  pthread_rwlock_init(&e->map_lock, NULL);
  pthread_mutex_init(&e->control, NULL);
  pthread_mutex_init(&e->reclaim, NULL);
  pthread_mutex_init(&e->lanes_lock, NULL);
  pthread_cond_init(&e->lane_free, NULL);
  pthread_cond_init(&e->reclaim_change, NULL);
  for (size_t i = 0; i < COW_STRIPES; i++)
    pthread_mutex_init(&e->stripes[i], NULL);
  return 0;
}

static int init_lanes(struct cow_engine *e, unsigned count) {
  if (count == 0 || count > COW_LANES_MAX)
    return -EINVAL;
  e->buffers = aligned_alloc(COW_BUFFER_ALIGNMENT, (size_t)count * COW_COPY_BYTES_MAX);
  e->lanes = aligned_alloc(_Alignof(struct cow_lane), count * sizeof *e->lanes);
  if (!e->buffers || !e->lanes)
    return -ENOMEM;
  /* In memory from now on. */
  memset(e->buffers, 0, (size_t)count * COW_COPY_BYTES_MAX);
  memset(e->lanes, 0, count * sizeof *e->lanes);
  for (unsigned i = 0; i < count; i++) {
    e->lanes[i].buffer = e->buffers + (size_t)i * COW_COPY_BYTES_MAX;
    cow_io_init(&e->lanes[i].io);
    e->free_lanes[e->free_lane_count++] = i;
  }
  e->lane_count = count;
  return 0;
}

static struct cow_lane *take_lane(struct cow_engine *e) {
  pthread_mutex_lock(&e->lanes_lock);
  while (e->free_lane_count == 0)
    pthread_cond_wait(&e->lane_free, &e->lanes_lock);
  unsigned i = e->free_lanes[--e->free_lane_count];
  pthread_mutex_unlock(&e->lanes_lock);
  return &e->lanes[i];
}

static void give_lane(struct cow_engine *e, const struct cow_lane *lane) {
  pthread_mutex_lock(&e->lanes_lock);
  e->free_lanes[e->free_lane_count++] = (unsigned)(lane - e->lanes);
  pthread_cond_signal(&e->lane_free);
  pthread_mutex_unlock(&e->lanes_lock);
}

/* What a server that died left half done becomes what it should be (E12). */
static void settle_table(struct cow_engine *e) {
  struct cow_arena_header *h = e->arena->header;
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    struct cow_arena_shadow *s = &h->shadows[i];
    if (cow_shadow_state_of(s) == COW_SHADOW_BEGUN)
      (void)cow_shadow_move(s, s->number == cow_epoch_now(e) ? COW_SHADOW_EVENT_COMMIT : COW_SHADOW_EVENT_ABORT);
    if (cow_shadow_state_of(s) == COW_SHADOW_LIVE) {
      atomic_fetch_add(&e->live_count, 1);
      atomic_fetch_add(&e->kept_count, atomic_load(&s->kept) != COW_KEPT_NOT);
    }
  }
}

static int take_over_key(uint32_t slot, uint64_t key, void *context) {
  struct cow_engine *e = context;
  uint64_t chunk = cow_key_chunk(key);
  uint32_t epoch = cow_key_epoch(key), now = cow_epoch_now(e);
  if (slot >= e->map.slots_max || chunk >= cow_chunk_count(&e->geometry) || epoch == 0 || epoch > now)
    return -EUCLEAN;
  int r = slot < e->holes.first ? cow_storage_claim(e->storage, slot) : cow_holes_claim(&e->holes, slot);
  if (r < 0)
    return r;
  cow_map_insert(&e->map, slot, true);
  if (epoch == now)
    atomic_fetch_or(&cow_covered(e)[chunk / 64], UINT64_C(1) << (chunk % 64));
  return 0;
}

int cow_engine_open(const struct cow_engine_options *options, struct cow_engine **ret, struct umbra_error *err) {
  struct cow_engine *e = calloc(1, sizeof *e);
  if (!e)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "starting the engine");
  *e = (struct cow_engine){
      .geometry = {.volume_bytes = options->arena->header->volume_bytes,
                   .chunk_bytes = options->arena->header->chunk_bytes},
      .origin_fd = options->origin_fd,
      .storage = options->storage,
      .arena = options->arena,
      .ledger = options->ledger,
      .extents = options->inside ? options->arena->extents : NULL,
      .full_policy = options->full_policy,
      .event = options->event,
      .event_context = options->event_context,
      .free_space = options->free_space,
  };
  int r = init_locks(e);
  if (r >= 0)
    r = init_lanes(e, options->lanes);
  if (r >= 0)
    r = cow_map_init(&e->map, e->arena->keys, e->arena->header->slots_max + e->arena->header->holes_max);
  if (r >= 0)
    r = cow_holes_init(&e->holes, e->arena->header->slots_max, e->arena->header->holes_max);
  if (r >= 0)
    r = cow_overlay_init(&e->overlay, e->arena);
  if (r < 0) {
    cow_engine_close(e);
    return error_set(err, r, UMBRA_REASON_INTERNAL, "memory for the engine");
  }
  settle_table(e);
  cow_note_live(e);
  r = cow_arena_visit_keys(e->arena, take_over_key, e);
  if (r >= 0)
    r = cow_overlay_take_over(e);
  if (r < 0)
    (void)error_set(err, r, UMBRA_REASON_DAMAGED,
                    "taking over the last server's shadow copies: its table is damaged");
  else
    r = cow_reclaim_start(e, err);
  if (r >= 0)
    r = cow_free_map_start(e, err);
  if (r < 0) {
    cow_engine_close(e);
    return r;
  }
  engine_assert(e);
  *ret = e;
  return 0;
}

void cow_engine_close(struct cow_engine *e) {
  if (!e)
    return;
  cow_free_map_stop(e);
  cow_reclaim_stop(e);
  cow_map_done(&e->map);
  cow_holes_done(&e->holes);
  cow_overlay_done(&e->overlay);
  for (unsigned i = 0; i < e->lane_count; i++)
    cow_io_done(&e->lanes[i].io);
  free(e->lanes);
  free(e->buffers);
  for (size_t i = 0; i < COW_STRIPES; i++)
    pthread_mutex_destroy(&e->stripes[i]);
  pthread_cond_destroy(&e->reclaim_change);
  pthread_cond_destroy(&e->lane_free);
  pthread_mutex_destroy(&e->lanes_lock);
  pthread_mutex_destroy(&e->reclaim);
  pthread_mutex_destroy(&e->control);
  pthread_rwlock_destroy(&e->map_lock);
  pthread_rwlock_destroy(&e->epoch);
  free(e);
}

const struct cow_geometry *cow_engine_geometry(const struct cow_engine *e) { return &e->geometry; }

/* length_max: 0 for none. */
static bool in_range(const struct cow_engine *e, uint64_t length_bytes, uint64_t offset_bytes, uint64_t length_max) {
  return length_bytes % COW_SECTOR_BYTES == 0 && offset_bytes % COW_SECTOR_BYTES == 0 &&
         (length_max == 0 || length_bytes <= length_max) && offset_bytes <= e->geometry.volume_bytes &&
         length_bytes <= e->geometry.volume_bytes - offset_bytes;
}

static struct cow_range chunks_of(const struct cow_engine *e, uint64_t offset_bytes, uint64_t length_bytes) {
  return (struct cow_range){.first = offset_bytes / e->geometry.chunk_bytes,
                            .last = (offset_bytes + length_bytes - 1) / e->geometry.chunk_bytes};
}

/* Before the writes among them land. Each has its result: together, or, when writes are to stop, each for itself. */
static void cover_writes(struct cow_engine *e, struct cow_lane *lane, struct cow_request *requests, size_t count) {
  size_t writes = 0;
  for (size_t i = 0; i < count; i++)
    if (requests[i].write && requests[i].result == 0 && requests[i].length_bytes > 0)
      lane->ranges[writes++] = chunks_of(e, requests[i].offset_bytes, requests[i].length_bytes);
  if (cow_cover(e, lane, writes) == 0)
    return;
  for (size_t i = 0; i < count; i++)
    if (requests[i].write && requests[i].result == 0 && requests[i].length_bytes > 0) {
      lane->ranges[0] = chunks_of(e, requests[i].offset_bytes, requests[i].length_bytes);
      requests[i].result = cow_cover(e, lane, 1);
    }
}

/* The witness's sectors are written with the others, but for one lane at a time (E17). */
static bool witness_before(struct cow_engine *e, const struct cow_request *requests, size_t count) {
  struct cow_witness_write writes[COW_REQUESTS_MAX];
  size_t touching = 0;
  for (size_t i = 0; e->ledger && i < count; i++)
    if (requests[i].write && requests[i].result == 0 &&
        cow_witness_touches(requests[i].offset_bytes, requests[i].length_bytes))
      writes[touching++] = (struct cow_witness_write){.data = requests[i].buffer,
                                                      .offset_bytes = requests[i].offset_bytes,
                                                      .length_bytes = requests[i].length_bytes};
  return touching > 0 && cow_keep_before_writes(e, writes, touching);
}

static void witness_after(struct cow_engine *e, const struct cow_request *requests, size_t count) {
  bool failed = false;
  for (size_t i = 0; i < count; i++)
    failed = failed || requests[i].result < 0;
  cow_witness_after(e->ledger, failed);
}

/* Those that have no result yet but 0. */
static void transfer(struct cow_engine *e, struct cow_lane *lane, struct cow_request *requests, size_t count) {
  size_t whose[COW_REQUESTS_MAX], transfers = 0;
  uint64_t written_bytes = 0;
  for (size_t i = 0; i < count; i++) {
    const struct cow_request *q = &requests[i];
    if (q->result < 0 || q->length_bytes == 0)
      continue;
    whose[transfers] = i;
    lane->transfers[transfers++] = (struct cow_transfer){.fd = e->origin_fd,
                                                         .write = q->write,
                                                         .buffer = q->buffer,
                                                         .length_bytes = q->length_bytes,
                                                         .offset_bytes = q->offset_bytes};
  }
  cow_io_run(&lane->io, lane->transfers, transfers);
  for (size_t i = 0; i < transfers; i++) {
    const struct cow_transfer *t = &lane->transfers[i];
    requests[whose[i]].result = t->result;
    written_bytes += t->write && t->result == 0 ? t->length_bytes : 0;
  }
  atomic_fetch_add_explicit(&e->bytes_written, written_bytes, memory_order_relaxed);
}

void cow_engine_run(struct cow_engine *e, struct cow_request *requests, size_t count) {
  assert(count <= COW_REQUESTS_MAX);
  bool writes = false;
  for (size_t i = 0; i < count; i++) {
    struct cow_request *q = &requests[i];
    q->result = in_range(e, q->length_bytes, q->offset_bytes, COW_REQUEST_BYTES_MAX) ? 0 : -EINVAL;
    writes = writes || q->write;
  }
  struct cow_lane *lane = take_lane(e);
  if (writes) {
    pthread_rwlock_rdlock(&e->epoch); /* E5: until the origin has them */
    for (size_t i = 0; e->extents && i < count; i++)
      if (requests[i].write && requests[i].result == 0)
        cow_heed_write(e, requests[i].offset_bytes, requests[i].length_bytes);
    cover_writes(e, lane, requests, count);
  }
  bool witnessed = writes && witness_before(e, requests, count);
  transfer(e, lane, requests, count);
  if (witnessed)
    witness_after(e, requests, count);
  if (writes)
    pthread_rwlock_unlock(&e->epoch);
  give_lane(e, lane);
}

int cow_engine_read(struct cow_engine *e, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  struct cow_request q = {.buffer = buffer, .length_bytes = length_bytes, .offset_bytes = offset_bytes};
  cow_engine_run(e, &q, 1);
  return q.result;
}

int cow_engine_write(struct cow_engine *e, const void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  struct cow_request q = {
      .write = true, .buffer = (void *)buffer, .length_bytes = length_bytes, .offset_bytes = offset_bytes};
  cow_engine_run(e, &q, 1);
  return q.result;
}

/* Of a part, *ret_bytes long; longer ones while no shadow copy can need what is there. */
static int zero_part(struct cow_engine *e, struct cow_lane *lane, uint64_t offset_bytes, uint64_t left_bytes,
                     uint64_t *ret_bytes) {
  pthread_rwlock_rdlock(&e->epoch);
  uint64_t bytes_max = atomic_load(&e->live_count) == 0 ? ZERO_BYTES_MAX : COW_REQUEST_BYTES_MAX;
  uint64_t bytes = *ret_bytes = left_bytes < bytes_max ? left_bytes : bytes_max;
  if (e->extents)
    cow_heed_write(e, offset_bytes, bytes);
  lane->ranges[0] = chunks_of(e, offset_bytes, bytes);
  int r = cow_cover(e, lane, 1);
  const struct cow_witness_write w = {.offset_bytes = offset_bytes, .length_bytes = bytes};
  bool witnessed = r >= 0 && cow_keep_before_writes(e, &w, 1);
  if (r >= 0 &&
      fallocate(e->origin_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes, (off_t)bytes) < 0)
    r = -errno;
  if (witnessed)
    cow_witness_after(e->ledger, r < 0);
  pthread_rwlock_unlock(&e->epoch);
  return r;
}

int cow_engine_zero(struct cow_engine *e, uint64_t offset_bytes, uint64_t length_bytes) {
  if (!in_range(e, length_bytes, offset_bytes, 0))
    return -EINVAL;
  struct cow_lane *lane = take_lane(e);
  int r = 0;
  /* In parts: a discard of the whole volume must not keep an instant waiting. */
  for (uint64_t done = 0, part; done < length_bytes && r >= 0; done += part)
    r = zero_part(e, lane, offset_bytes + done, length_bytes - done, &part);
  give_lane(e, lane);
  return r;
}

int cow_engine_flush(struct cow_engine *e) { return fdatasync(e->origin_fd) < 0 ? -errno : 0; }

static int begin_locked(struct cow_engine *e, const char *id, struct umbra_error *err) {
  struct cow_arena_header *h = e->arena->header;
  if (strlen(id) >= sizeof h->shadows[0].id || id[0] == '\0')
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no shadow copy's id", id);
  if (cow_shadows_find(h, id))
    return error_set(err, -EEXIST, UMBRA_REASON_INVALID, "there is a shadow copy %s already", id);
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    if (cow_shadow_state_of(&h->shadows[i]) == COW_SHADOW_BEGUN)
      return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "shadow copy %s is being made", h->shadows[i].id);
  struct cow_arena_shadow *s = cow_shadows_find_free(h);
  if (!s)
    return error_set(err, -ENOSPC, UMBRA_REASON_LIMIT,
                     "the volume has %d shadow copies, more are not kept: delete some", (int)COW_SHADOWS_MAX);
  if (h->next_number >= COW_NUMBER_MAX)
    return error_set(err, -ENOSPC, UMBRA_REASON_LIMIT,
                     "all %u numbers of shadow copies are used: detach and attach the volume", COW_NUMBER_MAX);
  /* The region that is not P now becomes the next P: all zero. */
  int r = cow_arena_clear(e->arena, COW_REGION_COVERED_A + ((atomic_load(&h->instant) & 1) ^ 1), err);
  if (r < 0)
    return r;
  (void)snprintf(s->id, sizeof s->id, "%s", id);
  s->why[0] = '\0';
  s->number = h->next_number++;
  s->created_ns = 0;
  atomic_store(&s->kept, COW_KEPT_NOT);
  s->held = 0;
  atomic_store(&s->writable, false);
  return cow_shadow_move(s, COW_SHADOW_EVENT_BEGIN);
}

int cow_engine_begin(struct cow_engine *e, const char *id, struct umbra_error *err) {
  pthread_mutex_lock(&e->control);
  int r = begin_locked(e, id, err);
  pthread_mutex_unlock(&e->control);
  engine_assert(e);
  return r;
}

int cow_engine_commit(struct cow_engine *e, const char *id, bool held) {
  pthread_mutex_lock(&e->control);
  struct cow_arena_header *h = e->arena->header;
  struct cow_arena_shadow *s = cow_shadows_find(h, id);
  int r = s && cow_shadow_state_of(s) == COW_SHADOW_BEGUN ? 0 : -EINVAL;
  if (r == 0) {
    pthread_rwlock_wrlock(&e->epoch);
    uint64_t region = (atomic_load(&h->instant) & 1) ^ 1;
    s->created_ns = clock_realtime_ns();
    s->held = held;
    atomic_store(&h->instant, (uint64_t)s->number << 1 | region);
    r = cow_shadow_move(s, COW_SHADOW_EVENT_COMMIT);
    atomic_store(&e->newest_live, s->number);
    atomic_fetch_add(&e->live_count, 1);
    atomic_fetch_add(&e->kept_count, atomic_load(&s->kept) != COW_KEPT_NOT);
    pthread_rwlock_unlock(&e->epoch);
    cow_free_map_wake(e);
  }
  pthread_mutex_unlock(&e->control);
  engine_assert(e);
  return r;
}

bool cow_engine_rest(struct cow_engine *e) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    enum cow_shadow_state state = cow_shadow_state_of(&e->arena->header->shadows[i]);
    if (state == COW_SHADOW_BEGUN || state == COW_SHADOW_LIVE)
      return false;
  }
  if (e->ledger)
    cow_witness_rest(e->ledger);
  cow_doubt_storage(e);
  return true;
}

static int not_found(const char *id, struct umbra_error *err) {
  return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "the volume has no shadow copy %s", id);
}

int cow_engine_abort(struct cow_engine *e, const char *id, struct umbra_error *err) {
  pthread_mutex_lock(&e->control);
  struct cow_arena_shadow *s = cow_shadows_find(e->arena->header, id);
  int r = s ? cow_shadow_move(s, COW_SHADOW_EVENT_ABORT) : not_found(id, err);
  if (s && r < 0)
    (void)error_set(err, r, UMBRA_REASON_BAD_STATE, "shadow copy %s is %s, not begun", id,
                    cow_shadow_state_name(cow_shadow_state_of(s)));
  pthread_mutex_unlock(&e->control);
  return r;
}

int cow_engine_delete(struct cow_engine *e, const char *id, bool force, struct umbra_error *err) {
  struct cow_arena_header *h = e->arena->header;
  /* Not control: a commit must not wait for the freeing that this may wait for. */
  pthread_mutex_lock(&e->reclaim);
  struct cow_arena_shadow *s = cow_shadows_find(h, id);
  bool live = s && cow_shadow_state_of(s) == COW_SHADOW_LIVE;
  int r = 0;
  if (!s)
    r = not_found(id, err);
  else if (e->open_counts[s - h->shadows] > 0 && !force)
    r = error_set(err, -EBUSY, UMBRA_REASON_BUSY, "shadow copy %s is open", id);
  else if ((r = cow_keep_record(e, s, COW_DISK_GONE)) < 0)
    (void)error_set(err, r, UMBRA_REASON_STORAGE, "shadow copy %s: the storage cannot be written to", id);
  else if (cow_shadow_state_of(s) != COW_SHADOW_DELETING && (r = cow_shadow_move(s, COW_SHADOW_EVENT_DELETE)) < 0)
    (void)error_set(err, r, UMBRA_REASON_BAD_STATE, "shadow copy %s is being made", id);
  if (r == 0 && live) {
    atomic_fetch_sub(&e->live_count, 1);
    atomic_fetch_sub(&e->kept_count, atomic_load(&s->kept) != COW_KEPT_NOT);
    cow_note_live(e);
  }
  pthread_mutex_unlock(&e->reclaim);
  if (r == 0)
    cow_reclaim_wake(e);
  return r;
}

void cow_engine_drop_all(struct cow_engine *e, const char *why) {
  cow_drop_after(e, 0, why);
  cow_doubt_storage(e);
}

static int compare_numbers(const void *a, const void *b) {
  const struct cow_shadow_info *x = a, *y = b;
  return (x->number > y->number) - (x->number < y->number);
}

size_t cow_engine_list(struct cow_engine *e, struct cow_shadow_info *info, size_t count_max) {
  size_t count = 0;
  pthread_mutex_lock(&e->reclaim);
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    const struct cow_arena_shadow *s = &e->arena->header->shadows[i];
    enum cow_shadow_state state = cow_shadow_state_of(s);
    if (state == COW_SHADOW_FREE || state == COW_SHADOW_BEGUN)
      continue;
    if (count < count_max) {
      info[count] = (struct cow_shadow_info){.number = s->number,
                                             .created_ns = s->created_ns,
                                             .kept = atomic_load(&s->kept) != COW_KEPT_NOT,
                                             .writable = atomic_load(&s->writable),
                                             .state = state,
                                             .open_count = e->open_counts[i]};
      memcpy(info[count].id, s->id, sizeof s->id);
      memcpy(info[count].why, s->why, sizeof s->why);
    }
    count++;
  }
  pthread_mutex_unlock(&e->reclaim);
  qsort(info, count < count_max ? count : count_max, sizeof *info, compare_numbers);
  return count;
}

void cow_engine_status(struct cow_engine *e, struct cow_engine_status *ret) {
  *ret = (struct cow_engine_status){
      .chunks_copied = atomic_load(&e->chunks_copied),
      .chunks_left_out = atomic_load(&e->chunks_left_out),
      .free_known = atomic_load(&e->free_map.number) == cow_epoch_now(e) && cow_epoch_now(e) > 0,
      .bytes_written = atomic_load(&e->bytes_written),
      .memory_bytes = cow_arena_memory_bytes(e->arena) + atomic_load(&e->free_map.memory_bytes),
      .shadows = atomic_load(&e->live_count),
      .kept = atomic_load(&e->kept_count),
      .has_ranges = e->extents && atomic_load(&e->extents->count) > 0,
  };
  pthread_rwlock_rdlock(&e->map_lock);
  ret->overlay_bytes = (uint64_t)e->overlay.map.count * e->geometry.chunk_bytes;
  pthread_rwlock_unlock(&e->map_lock);
  cow_storage_status(e->storage, &ret->storage);
}
