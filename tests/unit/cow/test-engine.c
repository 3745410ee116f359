/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine against a model: random writes, zeroes, shadow copies made, read, written, deleted, reverted, servers
 * that die, storage that fills up and that fails, one thread and several.  The model is a plain copy of the volume
 * for each shadow copy.  What a volume has free is told by its first bytes, a bit a chunk, so that it differs from
 * instant to instant; such a chunk of a shadow copy is what it was or zeros.  The seed is printed; UMBRA_SEED repeats
 * a run, UMBRA_STEPS lengthens it.
 */
#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/engine-state.h"
#include "tests/unit/cow/engine-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MODELS_MAX = 64, STEPS_DEFAULT = 30000, BITS_BYTES = VOLUME_BYTES / CHUNK / 8 + 1 };

struct model {
  char id[37];
  bool writable;
  unsigned char *bytes;
  unsigned char free_bits[BITS_BYTES]; /* of its instant, but for chunks that were written to since */
};

static unsigned steps_of_run(void) {
  const char *given = getenv("UMBRA_STEPS");
  return given ? (unsigned)strtoul(given, NULL, 10) : STEPS_DEFAULT;
}

/* The filesystem of these tests: bit c of its first bytes says that chunk c is free; those bytes never are. */
static bool is_free(const unsigned char *volume, uint64_t chunk) {
  return chunk > 0 && volume[chunk / 8] >> (chunk % 8) & 1;
}

/* In pieces that do not end where chunks do. */
static int visit_free(const struct free_space_source *source, free_space_visit_fn visit, void *context,
                      struct umbra_error *err) {
  unsigned char bits[BITS_BYTES];
  (void)err;
  int r = source->read(source->context, bits, 5, 0);
  if (r == 0)
    r = source->read(source->context, bits + 5, sizeof bits - 5, 5);
  for (uint64_t c = 0; c * CHUNK < VOLUME_BYTES && r == 0; c++) {
    uint64_t at = c * CHUNK, bytes = VOLUME_BYTES - at < CHUNK ? VOLUME_BYTES - at : CHUNK;
    if (!is_free(bits, c))
      continue;
    if ((r = visit(context, at, 512)) == 0)
      r = visit(context, at + 512, bytes - 512);
  }
  return r;
}

static void name_model(struct model *m, uint64_t *random) {
  (void)snprintf(m->id, sizeof m->id, "%016llx-%016llx", (unsigned long long)next_random(random),
                 (unsigned long long)next_random(random));
}

static void pick_range(uint64_t *random, uint64_t *offset, uint64_t *length) {
  uint64_t sectors = VOLUME_BYTES / 512;
  *offset = next_random(random) % sectors;
  uint64_t most = next_random(random) % 4 ? 9 : 400;
  *length = 1 + next_random(random) % most;
  if (*length > sectors - *offset)
    *length = sectors - *offset;
  *offset *= 512;
  *length *= 512;
}

/* The state of one run of the oracle. */
struct oracle {
  struct rig rig;
  unsigned char *live, *scratch;
  struct model models[MODELS_MAX];
  size_t count;
  uint64_t random, compared, dropped, zeros, left_out, shadow_writes, refused;
};

static void forget_model(struct oracle *o, size_t i) {
  free(o->models[i].bytes);
  memmove(&o->models[i], &o->models[i + 1], (--o->count - i) * sizeof o->models[0]);
}

/* Chunks that were free in the model and are zeros become the model's. */
static void take_free(struct oracle *o, unsigned char *found, const struct model *m) {
  const unsigned char *model = m->bytes;
  static const unsigned char zeros[CHUNK];
  for (uint64_t at = 0; at < VOLUME_BYTES; at += CHUNK) {
    uint64_t bytes = VOLUME_BYTES - at < CHUNK ? VOLUME_BYTES - at : CHUNK;
    if (!is_free(m->free_bits, at / CHUNK) || memcmp(found + at, zeros, bytes) != 0 ||
        memcmp(model + at, zeros, bytes) == 0)
      continue;
    memcpy(found + at, model + at, bytes);
    o->zeros++;
  }
}

static void compare(struct oracle *o, size_t i) {
  struct model *m = &o->models[i];
  int r = read_whole(o->rig.engine, m->id, o->scratch);
  if (r == -EIO && o->rig.storage_bytes < (uint64_t)VOLUME_BYTES * MODELS_MAX) {
    struct umbra_error err = {0};
    assert_int_equal(cow_engine_delete(o->rig.engine, m->id, false, &err), 0);
    forget_model(o, i);
    o->dropped++;
    return;
  }
  assert_int_equal(r, 0);
  if (o->rig.free_space)
    take_free(o, o->scratch, m);
  if (memcmp(o->scratch, m->bytes, VOLUME_BYTES) != 0)
    for (uint64_t b = 0; b < VOLUME_BYTES; b++)
      if (o->scratch[b] != m->bytes[b])
        fail_msg("shadow copy %zu of %zu differs at byte %llu (chunk %llu)", i, o->count, (unsigned long long)b,
                 (unsigned long long)b / CHUNK);
  o->compared++;
}

static void step_write(struct oracle *o) {
  uint64_t offset, length;
  pick_range(&o->random, &offset, &length);
  if (next_random(&o->random) % 16 == 0) {
    memset(o->live + offset, 0, length);
    assert_int_equal(cow_engine_zero(o->rig.engine, offset, length), 0);
    return;
  }
  for (uint64_t b = 0; b < length; b += 8) {
    uint64_t v = next_random(&o->random);
    memcpy(o->live + offset + b, &v, 8);
  }
  assert_int_equal(cow_engine_write(o->rig.engine, o->live + offset, length, offset), 0);
}

static int compare_numbers(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

/* Reads and writes side by side: parts of the volume that do not overlap, in random order, but share chunks. */
static void step_batch(struct oracle *o) {
  struct cow_request requests[COW_REQUESTS_MAX];
  uint64_t cuts[COW_REQUESTS_MAX + 1], sectors = VOLUME_BYTES / 512;
  size_t count = 1 + next_random(&o->random) % COW_REQUESTS_MAX;
  for (size_t i = 0; i <= count; i++)
    cuts[i] = next_random(&o->random) % (sectors + 1) * 512;
  qsort(cuts, count + 1, sizeof cuts[0], compare_numbers);
  memcpy(o->scratch, o->live, VOLUME_BYTES);
  for (size_t i = 0; i < count; i++) {
    uint64_t length = cuts[i + 1] - cuts[i];
    bool write = next_random(&o->random) % 4 != 0;
    for (uint64_t b = 0; write && b < length; b += 8) {
      uint64_t v = next_random(&o->random);
      memcpy(o->scratch + cuts[i] + b, &v, 8);
    }
    requests[i] = (struct cow_request){
        .write = write, .buffer = o->scratch + cuts[i], .length_bytes = length, .offset_bytes = cuts[i], .result = 1};
    if (!write)
      memset(requests[i].buffer, 0xa5, length);
    struct cow_request other = requests[i];
    size_t place = next_random(&o->random) % (i + 1);
    requests[i] = requests[place];
    requests[place] = other;
  }
  cow_engine_run(o->rig.engine, requests, count);
  for (size_t i = 0; i < count; i++) {
    struct cow_request *q = &requests[i];
    assert_int_equal(q->result, 0);
    if (q->write)
      memcpy(o->live + q->offset_bytes, q->buffer, q->length_bytes);
    else
      assert_memory_equal(q->buffer, o->live + q->offset_bytes, q->length_bytes);
  }
}

static void step_make(struct oracle *o) {
  if (o->count == MODELS_MAX)
    return;
  struct model *m = &o->models[o->count];
  *m = (struct model){.bytes = malloc(VOLUME_BYTES)};
  name_model(m, &o->random);
  memcpy(m->bytes, o->live, VOLUME_BYTES);
  memcpy(m->free_bits, o->live, BITS_BYTES);
  m->writable = next_random(&o->random) % 2;
  assert_int_equal((m->writable ? make_writable_shadow : make_shadow)(o->rig.engine, m->id), 0);
  o->count++;
  if (next_random(&o->random) % 2)
    cow_engine_wait_free_known(o->rig.engine);
}

/* What a failed write has done is done chunk after chunk: up to one, all of them. */
static void take_written(const struct oracle *o, struct model *m, uint64_t offset, uint64_t length, bool whole) {
  const unsigned char *wanted = o->live; /* of the range only */
  bool ended = false;
  for (uint64_t at = offset, end; at < offset + length; at = end) {
    end = (at / CHUNK + 1) * CHUNK < offset + length ? (at / CHUNK + 1) * CHUNK : offset + length;
    bool written = memcmp(o->scratch + at, wanted + at, end - at) == 0;
    assert_true(written || !whole);
    assert_false(written && ended && memcmp(m->bytes + at, wanted + at, end - at) != 0);
    ended = ended || !written;
    /* Beside what was written in it a free chunk may have been zeros. */
    uint64_t first = at / CHUNK * CHUNK, last = first + CHUNK < VOLUME_BYTES ? first + CHUNK : VOLUME_BYTES;
    for (uint64_t b = first; b < last && written; b++) {
      bool new = b >= at &&b < end;
      if (!new && !(o->scratch[b] == 0 && is_free(m->free_bits, at / CHUNK)))
        assert_int_equal(o->scratch[b], m->bytes[b]);
      m->bytes[b] = o->scratch[b];
    }
    if (written)
      m->free_bits[at / CHUNK / 8] &= (unsigned char)~(1U << (at / CHUNK % 8));
  }
}

static void step_write_shadow(struct oracle *o) {
  struct umbra_error err = {0};
  struct cow_shadow *s;
  uint64_t offset, length;
  if (o->count == 0)
    return;
  struct model *m = &o->models[next_random(&o->random) % o->count];
  if (cow_shadow_open(o->rig.engine, m->id, &s, &err) < 0)
    return; /* dropped: found by who compares */
  if (m->writable && next_random(&o->random) % 16 == 0) {
    assert_int_equal(cow_engine_seal(o->rig.engine, m->id, &err), 0);
    m->writable = false;
  }
  pick_range(&o->random, &offset, &length);
  unsigned char *before = malloc(length);
  memcpy(before, o->live + offset, length);
  for (uint64_t b = 0; b < length; b += 8) {
    uint64_t v = next_random(&o->random);
    memcpy(o->live + offset + b, &v, 8);
  }
  int r = cow_shadow_write(s, o->live + offset, length, offset);
  if (!m->writable)
    assert_int_equal(r, -EROFS);
  else if (r != -ENOSPC || o->rig.storage_bytes >= (uint64_t)VOLUME_BYTES * MODELS_MAX)
    assert_int_equal(r, 0);
  cow_shadow_close(s);
  if (m->writable) {
    assert_int_equal(read_whole(o->rig.engine, m->id, o->scratch), 0);
    take_written(o, m, offset, length, r == 0);
  }
  o->shadow_writes += m->writable;
  o->refused += r == -ENOSPC;
  memcpy(o->live + offset, before, length);
  free(before);
}

static void step_delete(struct oracle *o) {
  struct umbra_error err = {0};
  if (o->count == 0)
    return;
  size_t i = next_random(&o->random) % o->count;
  assert_int_equal(cow_engine_delete(o->rig.engine, o->models[i].id, false, &err), 0);
  forget_model(o, i);
  if (next_random(&o->random) % 2)
    cow_engine_wait_reclaimed(o->rig.engine);
}

static void step_revert(struct oracle *o) {
  struct umbra_error err = {0};
  if (o->count == 0)
    return;
  size_t i = next_random(&o->random) % o->count;
  int r = cow_engine_revert(o->rig.engine, o->models[i].id, NULL, NULL, NULL, &err);
  /* It may drop the very one it goes back to when storage is short: then the volume is between the two. */
  memcpy(o->scratch, o->live, VOLUME_BYTES);
  assert_int_equal(fd_pread_all(o->rig.origin_fd, o->live, VOLUME_BYTES, 0), 0);
  /* What was free then is what it was then, or is left as it is. */
  for (uint64_t at = 0; at < VOLUME_BYTES && r == 0; at += CHUNK) {
    const unsigned char *then = o->models[i].bytes;
    uint64_t bytes = VOLUME_BYTES - at < CHUNK ? VOLUME_BYTES - at : CHUNK;
    bool left = o->rig.free_space && is_free(o->models[i].free_bits, at / CHUNK) &&
                memcmp(o->live + at, o->scratch + at, bytes) == 0;
    if (!left)
      assert_memory_equal(o->live + at, then + at, bytes);
  }
}

static void step_die(struct oracle *o) {
  struct umbra_error err = {0};
  bool begun = next_random(&o->random) % 2;
  if (begun)
    assert_int_equal(cow_engine_begin(o->rig.engine, "half-made", &err), 0);
  struct cow_engine_status status;
  cow_engine_status(o->rig.engine, &status);
  o->left_out += status.chunks_left_out;
  restart_server(&o->rig);
  if (begun)
    assert_int_equal(cow_engine_abort(o->rig.engine, "half-made", &err), -ENOENT);
}

static void run_oracle(uint64_t storage_bytes, enum cow_full_policy policy, cow_free_space_fn free_space) {
  struct oracle o = {.live = calloc(1, VOLUME_BYTES), .scratch = malloc(VOLUME_BYTES)};
  set_up_free(&o.rig, storage_bytes, policy, free_space);
  o.random = o.rig.seed;
  for (unsigned step = 0, steps = steps_of_run(); step < steps; step++) {
    unsigned dice = next_random(&o.random) % 1000;
    if (dice < 30)
      step_make(&o);
    else if (dice < 56)
      step_delete(&o);
    else if (dice < 58)
      step_revert(&o);
    else if (dice < 60)
      step_die(&o);
    else if (dice < 100 && o.count > 0)
      compare(&o, next_random(&o.random) % o.count);
    else if (dice < 200)
      step_batch(&o);
    else if (dice < 280)
      step_write_shadow(&o);
    else
      step_write(&o);
    if (step % 1000 == 0)
      assert_null(cow_engine_check(o.rig.engine));
  }
  while (o.count > 0) {
    size_t before = o.count;
    compare(&o, 0);
    struct umbra_error err = {0};
    if (o.count < before)
      continue;
    assert_int_equal(cow_engine_delete(o.rig.engine, o.models[0].id, false, &err), 0);
    forget_model(&o, 0);
  }
  assert_int_equal(cow_engine_read(o.rig.engine, o.scratch, VOLUME_BYTES - 512, 512), 0);
  assert_memory_equal(o.scratch, o.live + 512, VOLUME_BYTES - 512);
  /* Nothing is left behind: all space is free again. */
  cow_engine_wait_reclaimed(o.rig.engine);
  struct cow_engine_status status;
  cow_engine_status(o.rig.engine, &status);
  assert_int_equal(status.storage.used_bytes, 0);
  o.left_out += status.chunks_left_out;
  print_message("compared %llu, dropped %llu, copied %llu chunks, left out %llu, found %llu of them zeros, wrote to "
                "shadow copies %llu times, no room for %llu\n",
                (unsigned long long)o.compared, (unsigned long long)o.dropped,
                (unsigned long long)status.chunks_copied, (unsigned long long)o.left_out, (unsigned long long)o.zeros,
                (unsigned long long)o.shadow_writes, (unsigned long long)o.refused);
  assert_true(o.compared > 100 && o.shadow_writes > 100);
  assert_int_equal(o.left_out > 100 && o.zeros > 100, free_space != NULL);
  if (storage_bytes < (uint64_t)VOLUME_BYTES * MODELS_MAX)
    assert_true(o.refused > 0 && o.rig.events[COW_EVENT_NOT_WRITTEN] > 0);
  if (storage_bytes < (uint64_t)VOLUME_BYTES * MODELS_MAX)
    assert_true(o.dropped > 10 && o.rig.events[COW_EVENT_DROPPED] > 0 && o.rig.events[COW_EVENT_STORAGE_HIGH] > 0);
  free(o.live);
  free(o.scratch);
  tear_down(&o.rig);
}

static void equals_model(void **state) {
  (void)state;
  run_oracle((uint64_t)VOLUME_BYTES * MODELS_MAX * 2, COW_FULL_DROP_OLDEST, NULL);
}
static void equals_model_when_full(void **state) {
  (void)state;
  run_oracle(500 * CHUNK, COW_FULL_DROP_OLDEST, NULL);
}
static void equals_model_when_full_dropping_newest(void **state) {
  (void)state;
  run_oracle(500 * CHUNK, COW_FULL_DROP_NEWEST, NULL);
}
static void equals_model_but_for_what_was_free(void **state) {
  (void)state;
  run_oracle((uint64_t)VOLUME_BYTES * MODELS_MAX * 2, COW_FULL_DROP_OLDEST, visit_free);
}
static void equals_model_but_for_what_was_free_when_full(void **state) {
  (void)state;
  run_oracle(500 * CHUNK, COW_FULL_DROP_OLDEST, visit_free);
}

/* Several threads, each with sectors of its own (interleaved, so that they share chunks); one takes shadow copies and
 * reads them. */
enum { THREADS = 4, COUNTERS = VOLUME_BYTES / 512 };

struct crowd {
  struct rig rig;
  atomic_bool stop;
  _Atomic uint64_t sequence; /* each write takes a number; an instant is a prefix of each thread's */
  _Atomic uint64_t issued[THREADS], done[THREADS];
};
struct member {
  struct crowd *crowd;
  unsigned index;
};

static uint64_t place_of(uint64_t n, unsigned index) {
  return (n * 7919 % (COUNTERS / THREADS) * THREADS + index) * 512;
}

/* Writes its sectors in a fixed order, round and round: sector i of round r holds r. */
static void *write_on(void *context) {
  struct member *m = context;
  struct crowd *c = m->crowd;
  unsigned char sector[512] __attribute__((aligned(512))), beside[512] __attribute__((aligned(512)));
  for (uint64_t n = 0; !atomic_load(&c->stop); n++) {
    memset(sector, 0, sizeof sector);
    uint64_t value = n + 1;
    memcpy(sector, &value, sizeof value);
    atomic_store(&c->issued[m->index], n + 1);
    /* Beside it a read of what others write: together. */
    struct cow_request together[] = {
        {.write = true, .buffer = sector, .length_bytes = sizeof sector, .offset_bytes = place_of(n, m->index)},
        {.buffer = beside,
         .length_bytes = sizeof beside,
         .offset_bytes = place_of(n * 31, (m->index + 1) % THREADS)}};
    cow_engine_run(c->rig.engine, together, 1 + n % 2);
    assert_int_equal(together[0].result, 0);
    assert_true(n % 2 == 0 || together[1].result == 0);
    atomic_store(&c->done[m->index], n + 1);
  }
  return NULL;
}

static uint64_t value_at(const unsigned char *image, uint64_t at) {
  uint64_t value;
  memcpy(&value, image + at, sizeof value);
  return value;
}

/*
 * What of the first end_bytes thread `index` had written when the image was taken: must be all writes up to one, that
 * one between low and high.
 */
static void check_prefix(const unsigned char *image, uint64_t end_bytes, unsigned index, uint64_t low,
                         uint64_t high) {
  const uint64_t slots = COUNTERS / THREADS;
  uint64_t last = 0;
  for (uint64_t n = 0; n < slots; n++)
    if (place_of(n, index) < end_bytes && value_at(image, place_of(n, index)) > last)
      last = value_at(image, place_of(n, index));
  while (low > 0 && place_of(low - 1, index) >= end_bytes)
    low--;
  assert_in_range(last, low, high);
  for (uint64_t n = last > slots ? last - slots : 0; n < last; n++)
    if (place_of(n, index) < end_bytes)
      assert_int_equal(value_at(image, place_of(n, index)), n + 1);
}

/* All but the first half. */
enum { CROWD_USED_BYTES = VOLUME_BYTES / CHUNK / 2 * CHUNK };
static int visit_second_half(const struct free_space_source *source, free_space_visit_fn visit, void *context,
                             struct umbra_error *err) {
  unsigned char looked_at[512];
  (void)err;
  int r = source->read(source->context, looked_at, sizeof looked_at, 0);
  return r < 0 ? r : visit(context, CROWD_USED_BYTES, VOLUME_BYTES - CROWD_USED_BYTES);
}

static void run_crowd(cow_free_space_fn free_space) {
  const uint64_t used_bytes = free_space ? CROWD_USED_BYTES : VOLUME_BYTES;
  struct crowd c = {0};
  struct member members[THREADS];
  pthread_t threads[THREADS];
  set_up_free(&c.rig, (uint64_t)VOLUME_BYTES * 64, COW_FULL_DROP_OLDEST, free_space);
  unsigned char *first = malloc(VOLUME_BYTES), *again = malloc(VOLUME_BYTES);
  for (unsigned i = 0; i < THREADS; i++) {
    members[i] = (struct member){&c, i};
    assert_int_equal(pthread_create(&threads[i], NULL, write_on, &members[i]), 0);
  }
  struct umbra_error err = {0};
  for (unsigned round = 0; round < 150; round++) {
    char id[37];
    uint64_t low[THREADS];
    (void)snprintf(id, sizeof id, "round-%u", round);
    assert_int_equal(cow_engine_begin(c.rig.engine, id, &err), 0);
    for (unsigned i = 0; i < THREADS; i++)
      low[i] = atomic_load(&c.done[i]);
    assert_int_equal(cow_engine_commit(c.rig.engine, id, true), 0);
    uint64_t high[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
      high[i] = atomic_load(&c.issued[i]);
    if (round % 2)
      cow_engine_wait_free_known(c.rig.engine);
    assert_int_equal(read_whole(c.rig.engine, id, first), 0);
    for (unsigned i = 0; i < THREADS; i++)
      check_prefix(first, used_bytes, i, low[i], high[i]);
    assert_int_equal(read_whole(c.rig.engine, id, again), 0);
    assert_memory_equal(first, again, used_bytes);
    if (round % 3)
      assert_int_equal(cow_engine_delete(c.rig.engine, id, false, &err), 0);
  }
  atomic_store(&c.stop, true);
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  assert_null(cow_engine_check(c.rig.engine));
  struct cow_engine_status status;
  cow_engine_status(c.rig.engine, &status);
  assert_int_equal(status.chunks_left_out > 0, free_space != NULL);
  free(first);
  free(again);
  tear_down(&c.rig);
}

static void is_one_instant_of_a_crowd(void **state) {
  (void)state;
  run_crowd(NULL);
}
static void is_one_instant_of_a_crowd_where_half_is_free(void **state) {
  (void)state;
  run_crowd(visit_second_half);
}

static void limits_are_named(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  for (unsigned i = 0; i < COW_SHADOWS_MAX; i++) {
    char id[37];
    (void)snprintf(id, sizeof id, "s%u", i);
    assert_int_equal(make_shadow(r.engine, id), 0);
  }
  assert_int_equal(make_shadow(r.engine, "one too many"), -ENOSPC);
  assert_int_equal(cow_engine_begin(r.engine, "one too many", &err), -ENOSPC);
  assert_int_equal(err.reason, UMBRA_REASON_LIMIT);
  assert_int_equal(cow_engine_delete(r.engine, "s7", false, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(make_shadow(r.engine, "again"), 0);
  r.arena.header->next_number = COW_NUMBER_MAX;
  assert_int_equal(cow_engine_delete(r.engine, "s8", false, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(cow_engine_begin(r.engine, "last", &err), -ENOSPC);
  assert_int_equal(cow_engine_begin(r.engine, "s9", &err), -EEXIST);
  assert_int_equal(cow_engine_write(r.engine, b, 100, 0), -EINVAL);
  assert_int_equal(cow_engine_write(r.engine, b, 512, VOLUME_BYTES), -EINVAL);
  assert_int_equal(cow_engine_write(r.engine, b, COW_REQUEST_BYTES_MAX + 512, 0), -EINVAL);
  assert_int_equal(cow_engine_write(r.engine, b, 512, UINT64_MAX - 511), -EINVAL);
  tear_down(&r);
}

static void open_ones_stay(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow *s;
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), 0);
  assert_int_equal(cow_engine_delete(r.engine, "a", false, &err), -EBUSY);
  assert_int_equal(cow_shadow_read(s, b, CHUNK, 0), 0);
  assert_int_equal(b[0], 0);
  assert_int_equal(cow_engine_delete(r.engine, "a", true, &err), 0);
  assert_int_equal(cow_shadow_read(s, b, CHUNK, 0), -EIO);
  cow_shadow_close(s);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), -ENOENT);
  tear_down(&r);
}

/* A handle of one deleted by force never reads the one that took its place, and the place waits for it. */
static void stale_handles_read_nothing(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow *s;
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(cow_engine_delete(r.engine, "a", true, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  assert_int_equal(cow_shadow_read(s, b, CHUNK, 0), -EIO);
  assert_int_equal(cow_engine_delete(r.engine, "b", false, &err), 0);
  cow_shadow_close(s);
  cow_engine_wait_reclaimed(r.engine);
  struct cow_shadow_info info[1];
  assert_int_equal(cow_engine_list(r.engine, info, 1), 0);
  tear_down(&r);
}

/* When the newest is gone, what the older ones have copies of is copied for nobody. */
static void nothing_is_copied_for_nobody(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_engine_status before, after;
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK), *whole = malloc(VOLUME_BYTES);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  for (unsigned i = 0; i < 10; i++)
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  assert_int_equal(cow_engine_delete(r.engine, "b", false, &err), 0);
  cow_engine_status(r.engine, &before);
  for (unsigned i = 0; i < 11; i++)
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  cow_engine_status(r.engine, &after);
  assert_int_equal(after.chunks_copied - before.chunks_copied, 1); /* the eleventh: a needs it */
  assert_int_equal(read_whole(r.engine, "a", whole), 0);
  assert_int_equal(whole[0] | whole[10 * CHUNK], 0);
  tear_down(&r);
}

/* A revert that finds no room fails and can be done again: what it goes back to is not dropped for it. */
static void revert_keeps_what_it_needs(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 10 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK), *whole = malloc(VOLUME_BYTES);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  for (unsigned i = 0; i < 8; i++)
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  int done = cow_engine_revert(r.engine, "a", NULL, NULL, NULL, &err);
  assert_int_equal(read_whole(r.engine, "a", whole), 0);
  assert_int_equal(whole[0], 0);
  /* b gave way, or there was no room. */
  assert_true(done == 0 || done == -ENOSPC);
  (void)cow_engine_delete(r.engine, "b", false, &err);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(cow_engine_revert(r.engine, "a", NULL, NULL, NULL, &err), 0);
  assert_int_equal(cow_engine_read(r.engine, whole, 8 * CHUNK, 0), 0);
  for (unsigned i = 0; i < 8; i++)
    assert_int_equal(whole[i * CHUNK], 0);
  tear_down(&r);
}

static int collect(uint64_t offset, uint64_t length, void *context) {
  unsigned char *changed = context;
  memset(changed + offset / CHUNK, 1, (length + CHUNK - 1) / CHUNK);
  return 0;
}

/* Exactly the chunks written in between, also when shadow copies in between are gone. */
static void check_difference(cow_free_space_fn free_space) {
  struct rig r;
  struct umbra_error err = {0};
  enum { CHUNKS = VOLUME_BYTES / CHUNK + 1 };
  set_up_free(&r, (uint64_t)VOLUME_BYTES * 64, COW_FULL_DROP_OLDEST, free_space);
  uint64_t random = r.seed;
  unsigned char written[8][CHUNKS] = {{0}}, expected[CHUNKS], seen[CHUNKS];
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  for (unsigned s = 0; s < 8; s++) {
    char id[2] = {(char)('0' + s), '\0'};
    assert_int_equal(make_shadow(r.engine, id), 0);
    cow_engine_wait_free_known(r.engine);
    for (unsigned i = 0; i < 40; i++) {
      uint64_t c = next_random(&random) % (CHUNKS - 1);
      assert_int_equal(cow_engine_write(r.engine, b, 512, c * CHUNK + 512), 0);
      written[s][c] = 1;
    }
  }
  assert_int_equal(cow_engine_delete(r.engine, "3", false, &err), 0);
  assert_int_equal(cow_engine_delete(r.engine, "5", false, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  for (unsigned from = 0; from < 8; from++)
    for (unsigned to = from + 1; to <= 8; to++) {
      char a[2] = {(char)('0' + from), '\0'}, z[2] = {(char)('0' + to), '\0'};
      if (from == 3 || from == 5 || to == 3 || to == 5)
        continue;
      memset(expected, 0, sizeof expected);
      memset(seen, 0, sizeof seen);
      for (unsigned s = from; s < to; s++)
        for (unsigned c = 0; c < CHUNKS; c++)
          expected[c] |= written[s][c];
      assert_int_equal(cow_engine_difference(r.engine, a, to == 8 ? NULL : z, collect, seen, &err), 0);
      assert_memory_equal(seen, expected, CHUNKS);
    }
  assert_int_equal(cow_engine_difference(r.engine, "4", "2", collect, seen, &err), -EINVAL);
  assert_int_equal(cow_engine_difference(r.engine, "3", NULL, collect, seen, &err), -ENOENT);
  struct cow_engine_status status;
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.chunks_left_out > 0, free_space != NULL);
  tear_down(&r);
}

struct asked {
  struct cow_engine *e;
  unsigned pieces;
};

/* Goes on for two pieces; who wants another revert meanwhile is refused. */
static bool two_pieces(void *context) {
  struct asked *a = context;
  struct umbra_error err = {0};
  assert_int_equal(cow_engine_revert(a->e, "b", NULL, NULL, NULL, &err), -EBUSY);
  return a->pieces++ < 2;
}

static void a_revert_is_alone_and_can_be_stopped(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  uint64_t bytes = 0;
  set_up(&r, (uint64_t)VOLUME_BYTES * 4, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK), *whole = malloc(VOLUME_BYTES);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  for (unsigned i = 0; i < 8; i += 2) /* not in a row: each is a piece */
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  struct asked asked = {.e = r.engine};
  assert_int_equal(cow_engine_revert(r.engine, "a", two_pieces, &asked, &bytes, &err), -ECANCELED);
  assert_int_equal(bytes, 2 * CHUNK);
  assert_int_equal(cow_engine_read(r.engine, whole, 8 * CHUNK, 0), 0);
  assert_int_equal(whole[0] | whole[2 * CHUNK], 0);
  assert_int_equal(whole[4 * CHUNK] & whole[6 * CHUNK], 1);
  assert_int_equal(cow_engine_revert(r.engine, "a", NULL, NULL, &bytes, &err), 0);
  assert_int_equal(cow_engine_read(r.engine, whole, 8 * CHUNK, 0), 0);
  assert_int_equal(whole[4 * CHUNK] | whole[6 * CHUNK], 0);
  tear_down(&r);
}

static void difference_is_exact(void **state) {
  (void)state;
  check_difference(NULL);
}
static void difference_is_exact_of_what_was_free(void **state) {
  (void)state;
  check_difference(visit_second_half);
}

static int refuse_to_say(const struct free_space_source *source, free_space_visit_fn visit, void *context,
                         struct umbra_error *err) {
  (void)source;
  int r = visit(context, 0, VOLUME_BYTES);
  return r < 0 ? r : error_set(err, -EUCLEAN, UMBRA_REASON_DAMAGED, "its structures do not hold");
}

/* What is free is written and takes no space, as long as nobody older needs it; the next server knows the same. */
static void free_chunks_take_no_space(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_engine_status status;
  set_up_free(&r, 64 * CHUNK, COW_FULL_STOP_WRITES, visit_second_half);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK), *whole = malloc(VOLUME_BYTES);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  cow_engine_wait_free_known(r.engine);
  for (uint64_t at = CROWD_USED_BYTES; at + CHUNK <= VOLUME_BYTES; at += 2 * CHUNK)
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, at), 0);
  restart_server(&r);
  cow_engine_wait_free_known(r.engine);
  cow_engine_status(r.engine, &status);
  assert_true(status.free_known);
  /* The last chunk is short and free. */
  assert_int_equal(cow_engine_write(r.engine, b, 512, VOLUME_BYTES - 512), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CROWD_USED_BYTES + CHUNK), 0);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.used_bytes, 0);
  assert_int_equal(status.chunks_left_out, 2);
  assert_null(cow_engine_check(r.engine));
  assert_int_equal(read_whole(r.engine, "a", whole), 0);
  assert_int_equal(whole[CROWD_USED_BYTES] | whole[CROWD_USED_BYTES + CHUNK] | whole[VOLUME_BYTES - 512], 0);
  /* One that is partly used is copied; one that all have free is not. */
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CROWD_USED_BYTES - 512), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  cow_engine_wait_free_known(r.engine);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CROWD_USED_BYTES + 3 * CHUNK), 0);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.used_bytes, CHUNK);
  /* The next server knows it of the newest only: one that an older one needs, too, is copied. */
  restart_server(&r);
  cow_engine_wait_free_known(r.engine);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CROWD_USED_BYTES), 0);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.used_bytes, CHUNK);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CROWD_USED_BYTES + 5 * CHUNK), 0);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.used_bytes, 2 * CHUNK);
  /* Not held: nothing is known, everything is copied. */
  assert_int_equal(cow_engine_begin(r.engine, "c", &err), 0);
  assert_int_equal(cow_engine_commit(r.engine, "c", false), 0);
  cow_engine_wait_free_known(r.engine);
  cow_engine_status(r.engine, &status);
  assert_false(status.free_known);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CROWD_USED_BYTES), 0);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.used_bytes, 3 * CHUNK);
  tear_down(&r);
  /* What is refused half-way is not believed. */
  set_up_free(&r, 64 * CHUNK, COW_FULL_STOP_WRITES, refuse_to_say);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  cow_engine_wait_free_known(r.engine);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.used_bytes, CHUNK);
  assert_false(status.free_known);
  tear_down(&r);
}

/* The last slot of storage and the first without storage have numbers in a row, and are read as what they are. */
static void holes_follow_the_last_slot(void **state) {
  (void)state;
  struct rig r;
  enum { SLOTS = 64 };
  const uint64_t from = CROWD_USED_BYTES - SLOTS * CHUNK;
  set_up_free(&r, SLOTS * CHUNK, COW_FULL_STOP_WRITES, visit_second_half);
  CLEANUP_FREE unsigned char *b = filled(1, (SLOTS + 1) * CHUNK), *whole = malloc(VOLUME_BYTES);
  assert_int_equal(cow_engine_write(r.engine, b, (SLOTS + 1) * CHUNK, from), 0);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  cow_engine_wait_free_known(r.engine);
  memset(b, 2, (SLOTS + 1) * CHUNK);
  assert_int_equal(cow_engine_write(r.engine, b, (SLOTS + 1) * CHUNK, from), 0);
  assert_int_equal(cow_map_find(&r.engine->map, CROWD_USED_BYTES / CHUNK, 1), SLOTS);
  assert_int_equal(read_whole(r.engine, "a", whole), 0);
  for (uint64_t at = from; at <= CROWD_USED_BYTES; at += CHUNK)
    assert_int_equal(whole[at], at < CROWD_USED_BYTES);
  tear_down(&r);
}

/* A look at what is free keeps nobody from deleting the shadow copy, and its place is not another's meanwhile. */
static atomic_bool look_begun, look_may_end;
static int look_slowly(const struct free_space_source *source, free_space_visit_fn visit, void *context,
                       struct umbra_error *err) {
  unsigned char b[512];
  (void)visit;
  (void)context;
  (void)err;
  atomic_store(&look_begun, true);
  while (!atomic_load(&look_may_end))
    (void)sched_yield();
  return source->read(source->context, b, sizeof b, 0);
}

static void a_look_keeps_nobody_from_deleting(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow_info info[2];
  set_up_free(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST, look_slowly);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  while (!atomic_load(&look_begun))
    (void)sched_yield();
  assert_int_equal(cow_engine_delete(r.engine, "a", false, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(cow_engine_list(r.engine, info, 2), 1);
  assert_int_equal(info[0].state, COW_SHADOW_DELETING);
  atomic_store(&look_may_end, true);
  cow_engine_wait_free_known(r.engine);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(cow_engine_list(r.engine, info, 2), 0);
  tear_down(&r);
}

static void damaged_arenas_are_refused(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  stop_server(&r);
  struct cow_storage_options so = {.fd = r.storage_fd, .chunk_bytes = CHUNK, .limit_bytes = r.storage_bytes};
  struct cow_engine_options eo = {.origin_fd = r.origin_fd, .arena = &r.arena, .lanes = 1};
  const uint64_t bad[] = {cow_key(VOLUME_BYTES / CHUNK + 1, 1), cow_key(1, 2), cow_key(1, 0)};
  r.arena.header->instant = 1 << 1;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct cow_engine *e;
    atomic_store(&r.arena.keys[3], bad[i]);
    assert_int_equal(cow_storage_open(&so, &eo.storage, &err), 0);
    assert_int_equal(cow_engine_open(&eo, &e, &err), -EUCLEAN);
    cow_storage_close(eo.storage);
  }
  int fds[COW_REGIONS];
  for (int i = 0; i < COW_REGIONS; i++)
    fds[i] = dup(r.arena.fds[i]);
  assert_int_equal(ftruncate(fds[COW_REGION_COVERED_B], 8), 0);
  struct cow_arena other;
  assert_int_equal(cow_arena_adopt(&other, fds, &err), -EUCLEAN);
  atomic_store(&r.arena.keys[3], 0);
  assert_int_equal(ftruncate(r.arena.fds[COW_REGION_COVERED_B], (off_t)r.arena.bytes[COW_REGION_COVERED_B]), 0);
  start_server(&r);
  tear_down(&r);
}

static void moves_are_the_tables(void **state) {
  (void)state;
  unsigned legal = 0;
  for (int s = 0; s < COW_SHADOW_STATES; s++)
    for (int v = 0; v < COW_SHADOW_EVENTS; v++)
      legal += cow_shadow_next((enum cow_shadow_state)s, (enum cow_shadow_event)v) >= 0;
  assert_int_equal(legal, 7);
  assert_int_equal(cow_shadow_next(COW_SHADOW_DROPPED, COW_SHADOW_EVENT_COMMIT), -EINVAL);
  assert_int_equal(cow_shadow_next(COW_SHADOW_FREE, COW_SHADOW_EVENT_RECLAIMED), -EINVAL);
  const uint32_t live[] = {3, 7, 9};
  assert_false(cow_shadows_any_between(live, 3, 3, 6));
  assert_true(cow_shadows_any_between(live, 3, 2, 3));
  assert_true(cow_shadows_any_between(live, 3, 8, 9));
  assert_false(cow_shadows_any_between(live, 3, 9, 100));
  assert_false(cow_shadows_any_between(live, 0, 0, 100));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(moves_are_the_tables),
      cmocka_unit_test(equals_model),
      cmocka_unit_test(equals_model_when_full),
      cmocka_unit_test(equals_model_when_full_dropping_newest),
      cmocka_unit_test(equals_model_but_for_what_was_free),
      cmocka_unit_test(equals_model_but_for_what_was_free_when_full),
      cmocka_unit_test(is_one_instant_of_a_crowd),
      cmocka_unit_test(is_one_instant_of_a_crowd_where_half_is_free),
      cmocka_unit_test(limits_are_named),
      cmocka_unit_test(open_ones_stay),
      cmocka_unit_test(stale_handles_read_nothing),
      cmocka_unit_test(nothing_is_copied_for_nobody),
      cmocka_unit_test(revert_keeps_what_it_needs),
      cmocka_unit_test(a_revert_is_alone_and_can_be_stopped),
      cmocka_unit_test(difference_is_exact),
      cmocka_unit_test(difference_is_exact_of_what_was_free),
      cmocka_unit_test(free_chunks_take_no_space),
      cmocka_unit_test(holes_follow_the_last_slot),
      cmocka_unit_test(a_look_keeps_nobody_from_deleting),
      cmocka_unit_test(damaged_arenas_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
