/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Storage inside the volume itself (cow/DESIGN.md, E21 to E25), against a model: a volume whose filesystem writes
 * everywhere but into the ranges of its storage file, until it does.
 */
#include "common/cleanup.h"
#include "cow/extents.h"
#include "tests/unit/cow/engine-rig.h"

#include <pthread.h>

enum { MODELS = 6, STEPS = 6000 };

/* Of 200 chunks and a bit: two pieces that begin and end inside chunks, one too short for a slot, one more. */
static const struct cow_extent_range file[] = {{40 * CHUNK + 1024, 30 * CHUNK},
                                               {90 * CHUNK, CHUNK / 2},
                                               {91 * CHUNK, 20 * CHUNK + 512},
                                               {150 * CHUNK + 512, 30 * CHUNK}};
enum { RANGES = sizeof file / sizeof file[0], SLOTS = 30 + 20 + 30 };

static bool is_storage(uint64_t at) {
  for (size_t i = 0; i < RANGES; i++)
    if (at >= file[i].offset_bytes && at < file[i].offset_bytes + file[i].length_bytes)
      return true;
  return false;
}

/* A rig whose storage is in its origin. */
static void set_up_inside(struct rig *r) {
  set_up(r, (uint64_t)SLOTS * 2 * CHUNK, COW_FULL_DROP_OLDEST);
  stop_server(r);
  r->inside = true;
  start_server(r);
}

static int tell(struct rig *r, const struct cow_extent_range *ranges, size_t count, bool *ret_certain) {
  struct umbra_error err = {0};
  return cow_engine_use_ranges(r->engine, ranges, count, ret_certain, &err);
}

/* As the provider does: until the engine is certain of them. */
static int use(struct rig *r, const struct cow_extent_range *ranges, size_t count) {
  bool certain = false;
  int result = 0;
  for (unsigned i = 0; i < 2 && result >= 0 && !certain; i++)
    result = tell(r, ranges, count, &certain);
  assert_true(result < 0 || certain);
  return result;
}

static void places_are_exact(void **state) {
  (void)state;
  struct cow_extents *x = calloc(1, sizeof *x);
  struct cow_geometry g = {.volume_bytes = VOLUME_BYTES, .chunk_bytes = CHUNK};
  assert_int_equal(cow_extents_set(x, file, RANGES, &g, SLOTS * 2), 0);
  assert_int_equal(x->slots, SLOTS);
  assert_true(cow_extents_equal(x, file, RANGES));
  assert_false(cow_extents_equal(x, file, RANGES - 1));
  uint64_t seen = 0;
  for (uint32_t slot = 0; slot < SLOTS; slot++) {
    uint32_t row;
    uint64_t place = cow_extents_place(x, slot, CHUNK, &row);
    assert_true(is_storage(place) && is_storage(place + CHUNK - 1) && place >= seen);
    assert_in_range(row, 1, 30);
    assert_true(is_storage(place + (uint64_t)row * CHUNK - 1));
    seen = place + CHUNK;
  }
  uint64_t at, bytes;
  for (uint64_t offset = 0; offset < VOLUME_BYTES; offset += 512)
    assert_int_equal(cow_extents_overlap(x, offset, 512, &at, &bytes), is_storage(offset));
  assert_true(cow_extents_overlap(x, 0, VOLUME_BYTES, &at, &bytes));
  assert_true(at == file[0].offset_bytes && bytes == file[0].length_bytes);
  assert_true(cow_extents_overlap(x, 41 * CHUNK, 512, &at, &bytes) && at == 41 * CHUNK && bytes == 512);
  /* The limit cuts the last ones off. */
  assert_int_equal(cow_extents_set(x, file, RANGES, &g, 40), 0);
  assert_int_equal(x->slots, 40);
  const struct cow_extent_range bad[][2] = {
      {{0, CHUNK}, {CHUNK - 512, CHUNK}},    {{CHUNK, CHUNK}, {0, CHUNK}},
      {{100, CHUNK}, {CHUNK * 2, CHUNK}},    {{0, CHUNK}, {VOLUME_BYTES - 512, 1024}},
      {{0, CHUNK}, {UINT64_MAX - 511, 512}}, {{0, 0}, {CHUNK, CHUNK}}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cow_extents_set(x, bad[i], 2, &g, SLOTS), -EINVAL);
  assert_int_equal(cow_extents_set(x, file, 0, &g, SLOTS), -EINVAL);
  assert_int_equal(cow_extents_set(x, &file[1], 1, &g, SLOTS), -ENOSPC);
  assert_int_equal(x->slots, 40);
  free(x);
}

/* What the volume and each shadow copy are, but for the file's place, which is zeros in shadow copies. */
struct oracle {
  struct rig rig;
  unsigned char *live, *scratch, *models[MODELS];
  bool writable[MODELS];
  uint64_t random;
  unsigned compared, reverted;
};

static void model_id(size_t i, char id[8]) { (void)snprintf(id, 8, "m%zu", i); }

/* A range that the filesystem may write to. */
static void pick(struct oracle *o, uint64_t *offset, uint64_t *length) {
  do {
    *offset = next_random(&o->random) % (VOLUME_BYTES / 512) * 512;
  } while (is_storage(*offset));
  *length = 512;
  for (uint64_t most = 512 * (1 + next_random(&o->random) % 30);
       *length < most && *offset + *length < VOLUME_BYTES && !is_storage(*offset + *length);)
    *length += 512;
}

static void fill_random(struct oracle *o, unsigned char *to, uint64_t length) {
  for (uint64_t b = 0; b < length; b += 8) {
    uint64_t v = next_random(&o->random);
    memcpy(to + b, &v, 8);
  }
}

static void compare(struct oracle *o, size_t i) {
  char id[8];
  struct umbra_error err = {0};
  model_id(i, id);
  int r = read_whole(o->rig.engine, id, o->scratch);
  if (r == -EIO) { /* dropped for room */
    assert_int_equal(cow_engine_delete(o->rig.engine, id, false, &err), 0);
    free(o->models[i]);
    o->models[i] = NULL;
    return;
  }
  assert_int_equal(r, 0);
  assert_memory_equal(o->scratch, o->models[i], VOLUME_BYTES);
  o->compared++;
}

static void make_one(struct oracle *o, size_t i) {
  char id[8];
  model_id(i, id);
  cow_engine_wait_reclaimed(o->rig.engine);
  assert_int_equal(use(&o->rig, file, RANGES), 0); /* as before each one: nothing has moved */
  o->writable[i] = next_random(&o->random) % 2;
  assert_int_equal((o->writable[i] ? make_writable_shadow : make_shadow)(o->rig.engine, id), 0);
  o->models[i] = malloc(VOLUME_BYTES);
  for (uint64_t b = 0; b < VOLUME_BYTES; b++)
    o->models[i][b] = is_storage(b) ? 0 : o->live[b];
}

/* Also where the file lies: to the filesystem on the shadow copy that may be free space. */
static void write_to_one(struct oracle *o, size_t i) {
  char id[8];
  struct cow_shadow *s;
  uint64_t offset = next_random(&o->random) % (VOLUME_BYTES / 512) * 512;
  model_id(i, id);
  if (!o->writable[i] || cow_shadow_open(o->rig.engine, id, &s, NULL) < 0)
    return;
  fill_random(o, o->scratch, 512);
  int r = cow_shadow_write(s, o->scratch, 512, offset);
  assert_true(r == 0 || r == -ENOSPC);
  if (r == 0)
    memcpy(o->models[i] + offset, o->scratch, 512);
  cow_shadow_close(s);
}

static void revert_to(struct oracle *o, size_t i) {
  char id[8];
  struct umbra_error err = {0};
  model_id(i, id);
  bool done = cow_engine_revert(o->rig.engine, id, NULL, NULL, NULL, &err) == 0;
  o->reverted += done;
  if (done)
    for (uint64_t b = 0; b < VOLUME_BYTES; b++)
      if (!is_storage(b))
        o->live[b] = o->models[i][b];
  /* Or half of it, for want of room. */
  assert_int_equal(fd_pread_all(o->rig.origin_fd, o->scratch, VOLUME_BYTES, 0), 0);
  for (uint64_t b = 0; b < VOLUME_BYTES; b++)
    if (!is_storage(b))
      assert_true(o->scratch[b] == o->live[b] || err.code < 0);
  for (uint64_t b = 0; b < VOLUME_BYTES; b++)
    if (!is_storage(b))
      o->live[b] = o->scratch[b];
}

static void step(struct oracle *o) {
  struct umbra_error err = {0};
  size_t i = next_random(&o->random) % MODELS;
  unsigned dice = (unsigned)(next_random(&o->random) % 1000);
  char id[8];
  model_id(i, id);
  if (dice < 20 && !o->models[i])
    make_one(o, i);
  else if (dice < 30 && o->models[i]) {
    assert_int_equal(cow_engine_delete(o->rig.engine, id, false, &err), 0);
    free(o->models[i]);
    o->models[i] = NULL;
  } else if (dice < 34)
    restart_server(&o->rig);
  else if (dice < 38 && o->models[i])
    revert_to(o, i);
  else if (dice < 100 && o->models[i])
    compare(o, i);
  else if (dice < 150 && o->models[i])
    write_to_one(o, i);
  else {
    uint64_t offset, length;
    pick(o, &offset, &length);
    fill_random(o, o->live + offset, length);
    assert_int_equal(cow_engine_write(o->rig.engine, o->live + offset, length, offset), 0);
  }
}

/* What chance may never have made: one that is certain to have room. */
static void revert_with_room(struct oracle *o) {
  struct umbra_error err = {0};
  for (size_t i = 0; i < MODELS; i++) {
    char id[8];
    model_id(i, id);
    (void)cow_engine_delete(o->rig.engine, id, false, &err);
  }
  make_one(o, 0);
  for (uint64_t at = 0; at < 10 * CHUNK; at += CHUNK) {
    fill_random(o, o->live + at, 512);
    assert_int_equal(cow_engine_write(o->rig.engine, o->live + at, 512, at), 0);
  }
  unsigned before = o->reverted;
  revert_to(o, 0);
  assert_int_equal(o->reverted, before + 1);
  compare(o, 0);
  free(o->models[0]);
  o->models[0] = NULL;
}

static void equals_model(void **state) {
  (void)state;
  struct oracle o = {.live = calloc(1, VOLUME_BYTES), .scratch = malloc(VOLUME_BYTES)};
  set_up_inside(&o.rig);
  o.random = o.rig.seed;
  for (unsigned n = 0; n < STEPS; n++) {
    step(&o);
    if (n % 500 == 0)
      assert_null(cow_engine_check(o.rig.engine));
  }
  for (size_t i = 0; i < MODELS; i++)
    if (o.models[i]) {
      compare(&o, i);
      free(o.models[i]);
      o.models[i] = NULL;
    }
  revert_with_room(&o);
  /* The volume is what was written to it, whatever was kept in it. */
  assert_int_equal(fd_pread_all(o.rig.origin_fd, o.scratch, VOLUME_BYTES, 0), 0);
  for (uint64_t b = 0; b < VOLUME_BYTES; b++)
    if (!is_storage(b))
      assert_int_equal(o.scratch[b], o.live[b]);
  assert_true(o.rig.events[COW_EVENT_DROPPED] > 0);
  print_message("compared %u, reverted %u, dropped %u\n", o.compared, o.reverted, o.rig.events[COW_EVENT_DROPPED]);
  assert_true(o.compared > 20);
  free(o.live);
  free(o.scratch);
  tear_down(&o.rig);
}

/* Before there is a file nothing can be kept: the volume wins. */
static void without_ranges_nothing_is_kept(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow *s;
  set_up_inside(&r);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), -EIO);
  tear_down(&r);
  set_up(&r, (uint64_t)SLOTS * CHUNK, COW_FULL_DROP_OLDEST);
  assert_int_equal(use(&r, file, RANGES), -EOPNOTSUPP);
  tear_down(&r);
}

/* The filesystem takes its blocks back by a write or a discard: what is kept there goes, the write lands whole. */
static void the_filesystem_takes_it_back(bool discard) {
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow *s, *open;
  set_up_inside(&r);
  CLEANUP_FREE unsigned char *b = filled(1, 40 * CHUNK), *there = malloc(40 * CHUNK);
  assert_int_equal(use(&r, file, RANGES), 0);
  assert_int_equal(make_writable_shadow(r.engine, "a"), 0);
  assert_int_equal(cow_shadow_open(r.engine, "a", &open, &err), 0);
  assert_int_equal(cow_engine_write(r.engine, b, 20 * CHUNK, 0), 0);
  assert_int_equal(cow_shadow_write(open, b, 512, 0), 0);
  assert_int_equal(r.events[COW_EVENT_DROPPED], 0);
  /* From before it, over its beginning. */
  const uint64_t at = file[0].offset_bytes - 8 * CHUNK;
  memset(b, discard ? 0 : 7, 40 * CHUNK);
  assert_int_equal(
      discard ? cow_engine_zero(r.engine, at, 40 * CHUNK) : cow_engine_write(r.engine, b, 40 * CHUNK, at), 0);
  assert_int_equal(r.events[COW_EVENT_DROPPED], 1);
  assert_int_equal(cow_shadow_read(open, there, CHUNK, 0), -EIO);
  assert_int_equal(cow_shadow_write(open, there, CHUNK, 0), -EIO);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), -EIO);
  /* Others take its place, and who has the dropped one open reads nothing of theirs. */
  assert_int_equal(use(&r, &file[2], 1), 0);
  assert_int_equal(cow_shadow_read(open, there, CHUNK, 0), -EIO);
  assert_int_equal(use(&r, file, RANGES), -ESTALE);
  cow_shadow_close(open);
  /* A server that dies before what was dropped is freed leaves nothing that the next one cannot take. */
  stop_server(&r);
  atomic_store(&r.arena.keys[SLOTS - 1], cow_key(199, 1));
  start_server(&r);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(cow_engine_delete(r.engine, "a", false, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  /* No copy lands there any more. */
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  for (unsigned i = 0; i < 200; i++)
    if (i < 30 || i > 80)
      assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  assert_int_equal(cow_engine_read(r.engine, there, 40 * CHUNK, at), 0);
  assert_memory_equal(there, b, 40 * CHUNK);
  tear_down(&r);
}
static void a_write_takes_it_back(void **state) {
  (void)state;
  the_filesystem_takes_it_back(false);
}
static void a_discard_takes_it_back(void **state) {
  (void)state;
  the_filesystem_takes_it_back(true);
}

/* Looked at before the next one: it lies elsewhere. */
static void a_moved_file_drops_all(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow *s;
  set_up_inside(&r);
  assert_int_equal(use(&r, file, RANGES), 0);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(use(&r, file, RANGES), 0);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), 0);
  cow_shadow_close(s);
  assert_int_equal(use(&r, file, 1), -ESTALE);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), -EIO);
  assert_int_equal(use(&r, file, 1), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  struct cow_engine_status status;
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.storage.limit_bytes, 30 * CHUNK);
  assert_int_equal(use(&r, file, 0), -ESTALE); /* there is none any more */
  assert_int_equal(cow_shadow_open(r.engine, "b", &s, &err), -EIO);
  tear_down(&r);
}

static uint64_t room(struct rig *r) {
  struct cow_engine_status status;
  cow_engine_status(r->engine, &status);
  return status.storage.limit_bytes;
}

/*
 * Nothing is stored in ranges that were named before writes into them were noticed; a write between the two answers of
 * the filesystem ends it.
 */
static void named_once_is_not_enough(void **state) {
  (void)state;
  struct rig r;
  bool certain = true;
  set_up_inside(&r);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(tell(&r, file, RANGES, &certain), 0);
  assert_false(certain);
  assert_int_equal(room(&r), 0);
  restart_server(&r);
  assert_int_equal(room(&r), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, file[3].offset_bytes), 0);
  assert_int_equal(tell(&r, file, RANGES, &certain), 0);
  assert_false(certain);
  assert_int_equal(room(&r), 0);
  assert_int_equal(tell(&r, file, RANGES, &certain), 0);
  assert_true(certain);
  assert_int_equal(room(&r), SLOTS * CHUNK);
  restart_server(&r);
  assert_int_equal(room(&r), SLOTS * CHUNK);
  tear_down(&r);
}

/* While nobody is live writes may go past the engine (device-mapper): afterwards the filesystem is asked once more. */
static void doubted_when_writes_may_pass(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  bool certain = false;
  set_up_inside(&r);
  CLEANUP_FREE unsigned char *b = filled(1, 8 * CHUNK), *there = malloc(8 * CHUNK);
  assert_int_equal(use(&r, file, RANGES), 0);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_false(cow_engine_rest(r.engine));
  assert_int_equal(room(&r), SLOTS * CHUNK);
  assert_int_equal(cow_engine_write(r.engine, b, 4 * CHUNK, 0), 0);
  assert_int_equal(cow_engine_delete(r.engine, "a", false, &err), 0);
  assert_true(cow_engine_rest(r.engine));
  assert_int_equal(room(&r), 0);
  restart_server(&r);
  assert_int_equal(room(&r), 0);
  /* The filesystem gave them to another file meanwhile, and nobody saw it: nothing lands there. */
  memset(b, 9, 8 * CHUNK);
  assert_int_equal(fd_pwrite_all(r.origin_fd, b, 8 * CHUNK, file[0].offset_bytes), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  for (unsigned i = 0; i < 40; i++)
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  assert_int_equal(fd_pread_all(r.origin_fd, there, 8 * CHUNK, file[0].offset_bytes), 0);
  assert_memory_equal(there, b, 8 * CHUNK);
  assert_int_equal(tell(&r, &file[2], 1, &certain), -ESTALE);
  assert_int_equal(use(&r, &file[2], 1), 0);
  assert_int_equal(cow_engine_delete(r.engine, "b", false, &err), 0);
  /* It was theirs all the time: the same ones go on, named once. */
  assert_true(cow_engine_rest(r.engine));
  assert_int_equal(tell(&r, &file[2], 1, &certain), 0);
  assert_true(certain);
  assert_int_equal(room(&r), 20 * CHUNK);
  cow_engine_drop_all(r.engine, "somebody let writes pass");
  assert_int_equal(room(&r), 0);
  tear_down(&r);
}

/* A live one that has stored nothing so far needs what lies where storage is reserved now. */
static void new_ranges_drop_who_is_live(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_shadow *s;
  bool certain;
  set_up_inside(&r);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(tell(&r, file, RANGES, &certain), 0);
  assert_int_equal(cow_shadow_open(r.engine, "a", &s, &err), -EIO);
  tear_down(&r);
}

/* ---- several threads: what the filesystem takes back while copies and overlays are on their way there is its own
 * ---- */

enum { WRITERS = 3, ROUNDS = 60 };

struct crowd {
  struct rig rig;
  atomic_bool stop;
  char id[37];
};
struct member {
  struct crowd *crowd;
  unsigned index;
};

static void *write_beside(void *context) {
  struct member *m = context;
  uint64_t random = m->crowd->rig.seed + m->index;
  CLEANUP_FREE unsigned char *b = filled(0xee, CHUNK);
  while (!atomic_load(&m->crowd->stop)) {
    uint64_t at = next_random(&random) % (VOLUME_BYTES / 512) * 512;
    if (!is_storage(at))
      assert_int_equal(cow_engine_write(m->crowd->rig.engine, b, 512, at), 0);
  }
  return NULL;
}

static void *write_overlay(void *context) {
  struct member *m = context;
  struct cow_shadow *s;
  CLEANUP_FREE unsigned char *b = filled(0xdd, CHUNK);
  if (cow_shadow_open(m->crowd->rig.engine, m->crowd->id, &s, NULL) < 0)
    return NULL;
  int r = 0;
  for (uint64_t at = 0; at < VOLUME_BYTES - CHUNK && (r == 0 || r == -ENOSPC); at += CHUNK / 2) {
    r = cow_shadow_write(s, b, 1024, at);
    if (r == 0)
      r = cow_shadow_read(s, b + 1024, 1024, at);
  }
  assert_true(r == 0 || r == -ENOSPC || r == -EIO);
  cow_shadow_close(s);
  return NULL;
}

static void a_crowd_leaves_what_was_taken_back(void **state) {
  (void)state;
  struct crowd c = {0};
  struct member writers[WRITERS], overlay = {&c, 0};
  pthread_t threads[WRITERS], overlay_thread;
  struct umbra_error err = {0};
  CLEANUP_FREE unsigned char *mine = filled(0, 30 * CHUNK), *there = malloc(30 * CHUNK);
  set_up_inside(&c.rig);
  for (unsigned i = 0; i < WRITERS; i++) {
    writers[i] = (struct member){&c, i};
    assert_int_equal(pthread_create(&threads[i], NULL, write_beside, &writers[i]), 0);
  }
  for (unsigned round = 0; round < ROUNDS; round++) {
    const struct cow_extent_range *range = &file[round % 2 ? 0 : 3];
    (void)snprintf(c.id, sizeof c.id, "round-%u", round);
    assert_int_equal(use(&c.rig, file, RANGES), 0);
    assert_int_equal(make_writable_shadow(c.rig.engine, c.id), 0);
    assert_int_equal(pthread_create(&overlay_thread, NULL, write_overlay, &overlay), 0);
    struct timespec a_moment = {.tv_nsec = (long)(round % 5) * 500000};
    (void)nanosleep(&a_moment, NULL);
    memset(mine, (int)round + 1, 30 * CHUNK);
    assert_int_equal(cow_engine_write(c.rig.engine, mine, range->length_bytes, range->offset_bytes), 0);
    pthread_join(overlay_thread, NULL);
    (void)cow_engine_delete(c.rig.engine, c.id, false, &err);
    assert_int_equal(cow_engine_read(c.rig.engine, there, range->length_bytes, range->offset_bytes), 0);
    assert_memory_equal(there, mine, range->length_bytes);
  }
  atomic_store(&c.stop, true);
  for (unsigned i = 0; i < WRITERS; i++)
    pthread_join(threads[i], NULL);
  assert_null(cow_engine_check(c.rig.engine));
  tear_down(&c.rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(places_are_exact),
      cmocka_unit_test(equals_model),
      cmocka_unit_test(without_ranges_nothing_is_kept),
      cmocka_unit_test(a_write_takes_it_back),
      cmocka_unit_test(a_discard_takes_it_back),
      cmocka_unit_test(a_moved_file_drops_all),
      cmocka_unit_test(named_once_is_not_enough),
      cmocka_unit_test(doubted_when_writes_may_pass),
      cmocka_unit_test(new_ranges_drop_who_is_live),
      cmocka_unit_test(a_crowd_leaves_what_was_taken_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
