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

/* Ascending, as their rank wants it; each once, whatever ranges share it. */
static void lock_stripes(struct cow_engine *e, struct cow_lane *lane, size_t count) {
  memset(lane->stripes, 0, sizeof lane->stripes);
  for (size_t i = 0; i < count; i++) {
    uint64_t low = lane->ranges[i].first / COW_STRIPE_CHUNKS, high = lane->ranges[i].last / COW_STRIPE_CHUNKS;
    for (uint64_t n = 0; n <= high - low && n < COW_STRIPES; n++)
      lane->stripes[(low + n) % COW_STRIPES / 64] |= UINT64_C(1) << ((low + n) % COW_STRIPES % 64);
  }
  for (size_t i = 0; i < COW_STRIPES; i++)
    if (lane->stripes[i / 64] >> (i % 64) & 1)
      pthread_mutex_lock(&e->stripes[i]);
}

static void unlock_stripes(struct cow_engine *e, const struct cow_lane *lane) {
  for (size_t i = 0; i < COW_STRIPES; i++)
    if (lane->stripes[i / 64] >> (i % 64) & 1)
      pthread_mutex_unlock(&e->stripes[i]);
}

/* Those who need the chunk as it is now are the ones after its newest entry. */
static void lose(struct cow_engine *e, uint64_t chunk, const char *what, int code) {
  pthread_rwlock_rdlock(&e->map_lock);
  uint32_t after = cow_map_newest(&e->map, chunk);
  pthread_rwlock_unlock(&e->map_lock);
  char why[sizeof((struct cow_event *)0)->why];
  (void)snprintf(why, sizeof why, "%s: %s", what, strerror(-code));
  cow_drop_after(e, after, why);
}

/* Publishes chunks[0 … count - 1] in slots in a row: keys first (what the next server believes), then the map, then
 * P. */
static void publish(struct cow_engine *e, const uint64_t *chunks, uint32_t slot, uint32_t count) {
  uint32_t epoch = cow_epoch_now(e);
  pthread_rwlock_wrlock(&e->map_lock);
  for (uint32_t i = 0; i < count; i++) {
    assert(cow_map_newest(&e->map, chunks[i]) < epoch); /* E2 */
    atomic_store_explicit(&e->arena->keys[slot + i], cow_key(chunks[i], epoch), memory_order_release);
    cow_map_insert(&e->map, slot + i, false);
  }
  pthread_rwlock_unlock(&e->map_lock);
  for (uint32_t i = 0; i < count; i++)
    set_covered(cow_covered(e), chunks[i], 1);
}

static bool is_needed(struct cow_engine *e, uint64_t chunk) {
  uint32_t newest = atomic_load_explicit(&e->newest_live, memory_order_acquire);
  pthread_rwlock_rdlock(&e->map_lock);
  bool needed = newest > cow_map_newest(&e->map, chunk);
  pthread_rwlock_unlock(&e->map_lock);
  return needed;
}

enum need { NEED_NOTHING, NEED_HOLE, NEED_COPY };

/* Under the map's lock. */
static enum need need_of(const struct cow_engine *e, uint32_t newest, uint64_t chunk) {
  uint32_t before = cow_map_newest(&e->map, chunk);
  if (newest <= before)
    return NEED_NOTHING;
  return cow_free_map_may_leave(&e->free_map, newest, cow_epoch_now(e), before, chunk) ? NEED_HOLE : NEED_COPY;
}

/* How many of count chunks from chunk on are alike. */
static uint32_t find_alike(struct cow_engine *e, uint64_t chunk, uint32_t count, enum need *ret_need) {
  uint32_t newest = atomic_load_explicit(&e->newest_live, memory_order_acquire), run = 1;
  pthread_rwlock_rdlock(&e->map_lock);
  *ret_need = need_of(e, newest, chunk);
  while (run < count && need_of(e, newest, chunk + run) == *ret_need)
    run++;
  pthread_rwlock_unlock(&e->map_lock);
  return run;
}

/* r: whether they last, if that is wanted (E13). */
static void publish_left(struct cow_engine *e, struct cow_lane *lane, int r) {
  for (size_t i = 0; i < lane->left_count; i++) {
    const struct cow_stored *left = &lane->left[i];
    if (r >= 0) {
      publish(e, left->chunks, left->slot, left->count);
      atomic_fetch_add_explicit(&e->chunks_left_out, left->count, memory_order_relaxed);
      continue;
    }
    for (uint32_t n = 0; n < left->count; n++) {
      cow_holes_put(&e->holes, left->slot + n);
      lose(e, left->chunks[n], "what was free could not be noted", r);
    }
  }
  lane->left_count = lane->left_chunk_count = 0;
}

static void settle_left(struct cow_engine *e, struct cow_lane *lane) {
  if (lane->left_count > 0)
    publish_left(e, lane, cow_keep_stored(e, lane->left, lane->left_count));
}

/* Holes for some of count chunks (E18); returns for how many, 0 if there are no numbers left. */
static uint32_t leave_out(struct cow_engine *e, struct cow_lane *lane, uint64_t chunk, uint32_t count) {
  if (lane->left_chunk_count == COW_COPY_CHUNKS_MAX)
    settle_left(e, lane);
  uint64_t *chunks = lane->left_chunks + lane->left_chunk_count;
  uint32_t slot = 0, room = COW_COPY_CHUNKS_MAX - lane->left_chunk_count;
  uint32_t got = cow_holes_get(&e->holes, count < room ? count : room, &slot);
  for (uint32_t i = 0; i < got; i++)
    chunks[i] = chunk + i;
  if (got > 0)
    lane->left[lane->left_count++] = (struct cow_stored){.slot = slot, .count = got, .chunks = chunks};
  lane->left_chunk_count += got;
  return got;
}

/* Reads what is to be copied: neighbours in one transfer; of one that fails, each chunk for itself. */
static void read_old(struct cow_engine *e, struct cow_lane *lane) {
  const uint32_t chunk_bytes = e->geometry.chunk_bytes;
  size_t transfers = 0;
  for (uint32_t i = 0, run; i < lane->chunk_count; i += run) {
    for (run = 1; i + run < lane->chunk_count && lane->chunks[i + run] == lane->chunks[i] + run;)
      run++;
    lane->transfers[transfers++] = (struct cow_transfer){
        .fd = e->origin_fd,
        .buffer = lane->buffer + (size_t)i * chunk_bytes,
        .length_bytes = (size_t)(run - 1) * chunk_bytes + cow_chunk_length(&e->geometry, lane->chunks[i + run - 1]),
        .offset_bytes = lane->chunks[i] * chunk_bytes,
    };
  }
  cow_io_run(&lane->io, lane->transfers, transfers);
  memset(lane->lost, 0, sizeof lane->lost);
  for (size_t t = 0; t < transfers; t++) {
    const struct cow_transfer *done = &lane->transfers[t];
    uint32_t i = (uint32_t)((size_t)((unsigned char *)done->buffer - lane->buffer) / chunk_bytes);
    for (size_t at = 0; done->result < 0 && at < done->length_bytes; at += chunk_bytes, i++) {
      uint32_t bytes = cow_chunk_length(&e->geometry, lane->chunks[i]);
      int r = fd_pread_all(e->origin_fd, lane->buffer + (size_t)i * chunk_bytes, bytes, done->offset_bytes + at);
      lane->lost[i] = r < 0;
      if (r < 0)
        lose(e, lane->chunks[i], "old data could not be read", r);
    }
  }
}

/* Chunks of the list from first on, in slots in a row. */
struct part {
  uint32_t first, slot, count;
};

/*
 * What is there is made to last (E13), and what is left out with it, by one flush; what does not is as if it had not
 * been written.
 */
static void keep_written(struct cow_engine *e, struct cow_lane *lane, const struct part *parts, size_t count) {
  struct cow_stored stored[2 * COW_COPY_CHUNKS_MAX];
  size_t there = 0;
  for (size_t t = 0; t < count; t++)
    if (lane->transfers[t].result >= 0)
      stored[there++] = (struct cow_stored){.slot = parts[t].slot,
                                            .count = parts[t].count,
                                            .chunks = lane->chunks + parts[t].first,
                                            .data = lane->transfers[t].buffer};
  if (there == 0)
    return;
  memcpy(stored + there, lane->left, lane->left_count * sizeof lane->left[0]);
  int r = cow_keep_stored(e, stored, there + lane->left_count);
  publish_left(e, lane, r);
  for (size_t t = 0; t < count && r < 0; t++)
    if (lane->transfers[t].result >= 0)
      lane->transfers[t].result = r;
}

/* Writes were tried from chunk first on, to slots from slot on; what of it is there is published. */
static void settle_written(struct cow_engine *e, struct cow_lane *lane, const struct cow_transfer *t, uint32_t first,
                           uint32_t slot, uint32_t count) {
  if (t->result >= 0) {
    publish(e, lane->chunks + first, slot, count);
    atomic_fetch_add_explicit(&e->chunks_copied, count, memory_order_relaxed);
    return;
  }
  for (uint32_t i = 0; i < count; i++) {
    cow_storage_put(e->storage, slot + i);
    lose(e, lane->chunks[first + i], "old data could not be stored", t->result);
  }
}

/* Of one that fails, each chunk once more for itself: a bad place costs only those who need its chunk. */
static void write_parts(struct cow_engine *e, struct cow_lane *lane, const struct part *parts, size_t count) {
  struct part again[COW_COPY_CHUNKS_MAX];
  bool is_again[COW_COPY_CHUNKS_MAX];
  size_t again_count = 0;
  for (size_t t = 0; t < count; t++)
    lane->transfers[t] = cow_storage_transfer(e->storage, parts[t].slot, parts[t].count,
                                              lane->buffer + (size_t)parts[t].first * e->geometry.chunk_bytes);
  cow_io_run(&lane->io, lane->transfers, count);
  for (size_t t = 0; t < count; t++) {
    is_again[t] = lane->transfers[t].result < 0 && parts[t].count > 1;
    for (uint32_t i = 0; is_again[t] && i < parts[t].count; i++)
      again[again_count++] = (struct part){parts[t].first + i, parts[t].slot + i, 1};
  }
  keep_written(e, lane, parts, count);
  for (size_t t = 0; t < count; t++)
    if (!is_again[t])
      settle_written(e, lane, &lane->transfers[t], parts[t].first, parts[t].slot, parts[t].count);
  if (again_count > 0)
    write_parts(e, lane, again, again_count);
}

/*
 * Stores what was read: in as few transfers as there are gaps in storage. Before anybody is dropped for room, what
 * has its place is published: only then can it be freed again if nobody needs it any more.
 */
static int store_old(struct cow_engine *e, struct cow_lane *lane) {
  struct part parts[COW_COPY_CHUNKS_MAX];
  size_t count = 0;
  int r = 0;
  for (uint32_t i = 0, got; i < lane->chunk_count && r == 0; i += got) {
    uint32_t run = 0, slot = 0;
    while (i + run < lane->chunk_count && !lane->lost[i + run])
      run++;
    got = 1;
    if (run == 0)
      continue;
    int code = cow_storage_get(e->storage, run, &slot, &got);
    if (code == 0) {
      parts[count++] = (struct part){i, slot, got};
      continue;
    }
    write_parts(e, lane, parts, count);
    count = 0;
    got = 1;
    if (code != -ENOSPC)
      lose(e, lane->chunks[i], "old data could not be stored", code);
    else if (is_needed(e, lane->chunks[i])) {
      r = cow_make_room(e);
      got = 0; /* once more */
    }
  }
  write_parts(e, lane, parts, count);
  return r;
}

static int copy_out(struct cow_engine *e, struct cow_lane *lane) {
  read_old(e, lane);
  int r = store_old(e, lane);
  lane->chunk_count = 0;
  return r;
}

static void warn_once(struct cow_engine *e) {
  struct cow_storage_status status;
  cow_storage_status(e->storage, &status);
  if (!status.over_warning)
    atomic_store(&e->warned, false);
  else if (!atomic_exchange(&e->warned, true))
    cow_engine_tell(e, COW_EVENT_STORAGE_HIGH, NULL, "the storage is nearly full");
}

/* Chunks first … last, which nobody has looked at: on the list of what is copied out, or covered now. */
static int cover_range(struct cow_engine *e, struct cow_lane *lane, uint64_t first, uint64_t last) {
  const uint32_t list_max = COW_COPY_BYTES_MAX / e->geometry.chunk_bytes;
  _Atomic uint64_t *p = cow_covered(e);
  int r = 0;
  for (uint64_t c = first; c <= last && r == 0;) {
    uint32_t room = list_max - lane->chunk_count, count = 0;
    while (c + count <= last && count < room && !cow_is_covered(p, c + count))
      count++;
    enum need need = NEED_NOTHING;
    if (count > 0)
      count = find_alike(e, c, count, &need);
    uint32_t left_out = need == NEED_HOLE ? leave_out(e, lane, c, count) : 0;
    if (left_out > 0)
      count = left_out;
    else if (need == NEED_NOTHING)
      set_covered(p, c, count);
    for (uint32_t i = 0; left_out == 0 && need != NEED_NOTHING && i < count; i++)
      lane->chunks[lane->chunk_count++] = c + i;
    c += count > 0 ? count : 1;
    if (lane->chunk_count == list_max)
      r = copy_out(e, lane);
  }
  return r;
}

/* Few and often in order already; qsort() may get memory. */
static void sort_ranges(struct cow_range *ranges, size_t count) {
  for (size_t i = 1; i < count; i++) {
    struct cow_range moving = ranges[i];
    size_t to = i;
    for (; to > 0 && ranges[to - 1].first > moving.first; to--)
      ranges[to] = ranges[to - 1];
    ranges[to] = moving;
  }
}

int cow_cover(struct cow_engine *e, struct cow_lane *lane, size_t count) {
  if (atomic_load_explicit(&e->live_count, memory_order_acquire) == 0)
    return 0;
  size_t left = 0;
  for (size_t i = 0; i < count; i++)
    if (!all_covered(cow_covered(e), lane->ranges[i].first, lane->ranges[i].last))
      lane->ranges[left++] = lane->ranges[i];
  if (left == 0)
    return 0;
  sort_ranges(lane->ranges, left);
  lock_stripes(e, lane, left);
  lane->chunk_count = 0;
  uint64_t next = 0; /* all before it have been looked at: ranges may overlap */
  int r = 0;
  for (size_t i = 0; i < left && r == 0; i++) {
    uint64_t first = lane->ranges[i].first > next ? lane->ranges[i].first : next, last = lane->ranges[i].last;
    if (first > last)
      continue;
    r = cover_range(e, lane, first, last);
    next = last + 1;
  }
  if (r == 0 && lane->chunk_count > 0)
    r = copy_out(e, lane);
  settle_left(e, lane);
  unlock_stripes(e, lane);
  if (r == 0)
    warn_once(e);
  return r;
}
