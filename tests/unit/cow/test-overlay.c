/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow copies that are written to (cow/DESIGN.md, E19): who sees it, who does not, what it costs and when it ends.
 * The oracle of test-engine.c writes to them at random; here is each rule by itself, and several threads at once.
 */
#include "common/cleanup.h"
#include "tests/unit/cow/engine-rig.h"

#include <pthread.h>

static unsigned char *page(unsigned char value) { return filled(value, CHUNK); }

static struct cow_shadow *open_shadow(struct rig *r, const char *id) {
  struct umbra_error err = {0};
  struct cow_shadow *s;
  if (cow_shadow_open(r->engine, id, &s, &err) < 0)
    fail_msg("%s", err.message);
  return s;
}

static int write_shadow(struct rig *r, const char *id, unsigned char value, size_t length, uint64_t offset) {
  struct cow_shadow *s = open_shadow(r, id);
  CLEANUP_FREE unsigned char *b = filled(value, length);
  int code = cow_shadow_write(s, b, length, offset);
  cow_shadow_close(s);
  return code;
}

static unsigned char byte_of(struct rig *r, const char *id, uint64_t at) {
  CLEANUP_FREE unsigned char *whole = malloc(VOLUME_BYTES);
  assert_int_equal(read_whole(r->engine, id, whole), 0);
  return whole[at];
}

static uint64_t used_chunks(struct rig *r) {
  struct cow_engine_status status;
  cow_engine_wait_reclaimed(r->engine);
  cow_engine_status(r->engine, &status);
  return status.storage.used_bytes / CHUNK;
}

/* Older ones read through the entries of newer ones, never through what lies over them; nor does the volume. */
static void nobody_else_sees_it(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *ones = page(1), *twos = page(2), *b = page(0);
  assert_int_equal(cow_engine_write(r.engine, ones, CHUNK, 0), 0);
  assert_int_equal(make_shadow(r.engine, "old"), 0);
  assert_int_equal(make_writable_shadow(r.engine, "mid"), 0);
  assert_int_equal(make_writable_shadow(r.engine, "new"), 0);
  /* Before the volume's own write, and after it: the second time there is an entry that all three read. */
  assert_int_equal(write_shadow(&r, "mid", 7, 512, 512), 0);
  assert_int_equal(cow_engine_write(r.engine, twos, CHUNK, 0), 0);
  assert_int_equal(write_shadow(&r, "new", 8, 512, 1024), 0);
  for (int again = 0; again < 2; again++) {
    assert_int_equal(byte_of(&r, "old", 512), 1);
    assert_int_equal(byte_of(&r, "old", 1024), 1);
    assert_int_equal(byte_of(&r, "mid", 512), 7);
    assert_int_equal(byte_of(&r, "mid", 511), 1);
    assert_int_equal(byte_of(&r, "mid", 1024), 1);
    assert_int_equal(byte_of(&r, "new", 512), 1);
    assert_int_equal(byte_of(&r, "new", 1024), 8);
    assert_int_equal(cow_engine_read(r.engine, b, CHUNK, 0), 0);
    assert_memory_equal(b, twos, CHUNK);
    assert_null(cow_engine_check(r.engine));
    restart_server(&r); /* the next server has the same */
  }
  assert_int_equal(used_chunks(&r), 3);
  /* Nobody's overlay goes to an older neighbour. */
  assert_int_equal(cow_engine_delete(r.engine, "mid", false, &err), 0);
  assert_int_equal(used_chunks(&r), 2);
  assert_int_equal(cow_engine_delete(r.engine, "new", false, &err), 0);
  assert_int_equal(used_chunks(&r), 1);
  assert_int_equal(byte_of(&r, "old", 512), 1);
  tear_down(&r);
}

/* Only those made writable, only until they are sealed, and never those that are to outlive the run. */
static void writable_until_sealed(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(write_shadow(&r, "a", 1, 512, 0), -EROFS);
  assert_int_equal(cow_engine_make_writable(r.engine, "a", &err), -EINVAL); /* too late */
  assert_int_equal(make_writable_shadow(r.engine, "b"), 0);
  assert_int_equal(write_shadow(&r, "b", 1, 512, VOLUME_BYTES - 512), 0); /* the last chunk is short */
  assert_int_equal(write_shadow(&r, "b", 1, 512, VOLUME_BYTES), -EINVAL);
  assert_int_equal(write_shadow(&r, "b", 1, 100, 0), -EINVAL);
  assert_int_equal(cow_engine_seal(r.engine, "b", &err), 0);
  assert_int_equal(write_shadow(&r, "b", 2, 512, VOLUME_BYTES - 512), -EROFS);
  restart_server(&r);
  assert_int_equal(write_shadow(&r, "b", 2, 512, VOLUME_BYTES - 512), -EROFS);
  assert_int_equal(byte_of(&r, "b", VOLUME_BYTES - 512), 1);
  assert_int_equal(byte_of(&r, "b", VOLUME_BYTES - 513), 0);
  assert_int_equal(cow_engine_seal(r.engine, "none", &err), -ENOENT);
  /* A place in the table that was a writable one's is not writable for the next. */
  assert_int_equal(make_writable_shadow(r.engine, "c"), 0);
  assert_int_equal(cow_engine_delete(r.engine, "c", false, &err), 0);
  cow_engine_wait_reclaimed(r.engine);
  assert_int_equal(make_shadow(r.engine, "d"), 0);
  assert_int_equal(write_shadow(&r, "d", 2, 512, 0), -EROFS);
  tear_down(&r);
}

/* Nobody is dropped for it, and a fifth of the storage is left to old data; what it took goes with its own. */
static void room_is_for_old_data(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  enum { SLOTS = 20, SPARE = SLOTS * COW_STORAGE_WARN_PERCENT / 100 };
  set_up(&r, SLOTS * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *ones = page(1);
  assert_int_equal(make_shadow(r.engine, "old"), 0);
  assert_int_equal(make_writable_shadow(r.engine, "w"), 0);
  assert_int_equal(cow_engine_write(r.engine, ones, CHUNK, 100 * CHUNK), 0);
  for (unsigned i = 0; i + 1 < SPARE; i++)
    assert_int_equal(write_shadow(&r, "w", 3, 512, (uint64_t)i * CHUNK), 0);
  assert_int_equal(write_shadow(&r, "w", 3, 512, 50 * CHUNK), -ENOSPC);
  assert_int_equal(write_shadow(&r, "w", 3, 512, 51 * CHUNK), -ENOSPC);
  assert_int_equal(r.events[COW_EVENT_NOT_WRITTEN], 1);
  assert_int_equal(r.events[COW_EVENT_DROPPED], 0);
  assert_int_equal(write_shadow(&r, "w", 4, 512, 512), 0); /* where it has a slot already */
  assert_int_equal(byte_of(&r, "w", 512), 4);
  assert_int_equal(byte_of(&r, "w", 50 * CHUNK), 0);
  /* The volume takes the rest, then drops the oldest, whatever lies over the others. */
  for (unsigned i = 0; i < SLOTS - SPARE + 1; i++)
    assert_int_equal(cow_engine_write(r.engine, ones, CHUNK, (101 + (uint64_t)i) * CHUNK), 0);
  assert_true(r.events[COW_EVENT_DROPPED] >= 1);
  CLEANUP_FREE unsigned char *whole = malloc(VOLUME_BYTES);
  assert_int_equal(read_whole(r.engine, "old", whole), -EIO);
  struct cow_shadow *s;
  assert_int_equal(cow_shadow_open(r.engine, "w", &s, &err), -EIO); /* its entries are the same: it went, too */
  assert_true(used_chunks(&r) <= 1);
  /* What is deleted and not freed yet is room. */
  assert_int_equal(make_writable_shadow(r.engine, "v"), 0);
  for (unsigned round = 0; round < 5; round++) {
    for (unsigned i = 0; i + 1 < SPARE; i++)
      assert_int_equal(write_shadow(&r, "v", 3, 512, (uint64_t)i * CHUNK), 0);
    assert_int_equal(cow_engine_delete(r.engine, "v", false, &err), 0);
    cow_engine_wait_reclaimed(r.engine); /* the id is free again */
    assert_int_equal(make_writable_shadow(r.engine, "v"), 0);
  }
  tear_down(&r);
}

static int collect(uint64_t offset, uint64_t length, void *context) {
  memset((unsigned char *)context + offset / CHUNK, 1, (length + CHUNK - 1) / CHUNK);
  return 0;
}

/* A difference and a revert are of what is shown. */
static void differences_and_reverts_are_of_what_is_shown(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  unsigned char seen[VOLUME_BYTES / CHUNK + 1] = {0};
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *ones = page(1), *b = page(0);
  assert_int_equal(make_writable_shadow(r.engine, "a"), 0);
  assert_int_equal(make_writable_shadow(r.engine, "b"), 0);
  assert_int_equal(cow_engine_write(r.engine, ones, CHUNK, 3 * CHUNK), 0);
  assert_int_equal(write_shadow(&r, "a", 7, 512, 5 * CHUNK), 0);
  assert_int_equal(write_shadow(&r, "b", 8, 512, 6 * CHUNK), 0);
  assert_int_equal(cow_engine_difference(r.engine, "a", NULL, collect, seen, &err), 0);
  for (unsigned c = 0; c < sizeof seen; c++)
    assert_int_equal(seen[c], c == 3 || c == 5);
  memset(seen, 0, sizeof seen);
  assert_int_equal(cow_engine_difference(r.engine, "a", "b", collect, seen, &err), 0);
  for (unsigned c = 0; c < sizeof seen; c++)
    assert_int_equal(seen[c], c == 5 || c == 6);
  assert_int_equal(cow_engine_revert(r.engine, "a", NULL, NULL, NULL, &err), 0);
  assert_int_equal(cow_engine_read(r.engine, b, CHUNK, 5 * CHUNK), 0);
  assert_int_equal(b[0] | b[512], 7);
  assert_int_equal(cow_engine_read(r.engine, b, CHUNK, 3 * CHUNK), 0);
  assert_int_equal(b[0], 0);
  assert_int_equal(byte_of(&r, "b", (uint64_t)5 * CHUNK), 0);
  tear_down(&r);
}

static void damaged_keys_are_refused(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *ones = page(1);
  assert_int_equal(make_writable_shadow(r.engine, "a"), 0);
  assert_int_equal(cow_engine_write(r.engine, ones, CHUNK, 0), 0);
  assert_int_equal(write_shadow(&r, "a", 1, 512, 0), 0);
  stop_server(&r);
  struct cow_storage_options so = {.fd = r.storage_fd, .chunk_bytes = CHUNK, .limit_bytes = r.storage_bytes};
  struct cow_engine_options eo = {.origin_fd = r.origin_fd, .arena = &r.arena, .lanes = 1};
  /* No such chunk, a number that was not used yet, none, twice the same, a slot that is an entry's. */
  const struct {
    uint32_t slot;
    uint64_t key;
  } bad[] = {{9, cow_key(VOLUME_BYTES / CHUNK + 1, 1)},
             {9, cow_key(1, 2)},
             {9, cow_key(1, 0)},
             {9, cow_key(0, 1)},
             {0, cow_key(1, 1)}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct cow_engine *e;
    atomic_store(&r.arena.overlays[bad[i].slot], bad[i].key);
    assert_int_equal(cow_storage_open(&so, &eo.storage, &err), 0);
    assert_int_equal(cow_engine_open(&eo, &e, &err), -EUCLEAN);
    cow_storage_close(eo.storage);
    atomic_store(&r.arena.overlays[bad[i].slot], 0);
  }
  start_server(&r);
  tear_down(&r);
}

/* ---- several threads: the volume is written, shadow copies are written and read, made, dropped and deleted ---- */

enum { WRITERS = 3, ROUNDS = 60 };

struct crowd {
  struct rig rig;
  atomic_bool stop;
  char id[37];
};
struct member {
  struct crowd *crowd;
  unsigned index;
  uint64_t written;
};

static void *write_volume(void *context) {
  struct member *m = context;
  uint64_t random = m->crowd->rig.seed + m->index;
  CLEANUP_FREE unsigned char *b = page(0xee);
  while (!atomic_load(&m->crowd->stop))
    assert_int_equal(
        cow_engine_write(m->crowd->rig.engine, b, 512, next_random(&random) % (VOLUME_BYTES / 512) * 512), 0);
  return NULL;
}

/* Its sectors are every third one, so that chunks are shared: all of them, or up to where it was refused. */
static void *write_overlay(void *context) {
  struct member *m = context;
  struct cow_shadow *s;
  if (cow_shadow_open(m->crowd->rig.engine, m->crowd->id, &s, NULL) < 0)
    return NULL;
  CLEANUP_FREE unsigned char *b = filled((unsigned char)(m->index + 1), 512);
  int r = 0;
  for (uint64_t sector = m->index; sector < VOLUME_BYTES / 512 && r == 0; sector += WRITERS) {
    r = cow_shadow_write(s, b, 512, sector * 512);
    m->written = sector + (r == 0);
  }
  assert_true(r == 0 || r == -ENOSPC || r == -EIO);
  cow_shadow_close(s);
  return NULL;
}

static void threads_write_to_one(void **state) {
  (void)state;
  struct crowd c = {0};
  struct member volume = {&c, 0, 0}, writers[WRITERS];
  pthread_t volume_thread, threads[WRITERS];
  struct umbra_error err = {0};
  unsigned whole_ones = 0, gone = 0;
  CLEANUP_FREE unsigned char *image = malloc(VOLUME_BYTES);
  set_up(&c.rig, (uint64_t)VOLUME_BYTES * 2, COW_FULL_DROP_OLDEST);
  assert_int_equal(pthread_create(&volume_thread, NULL, write_volume, &volume), 0);
  for (unsigned round = 0; round < ROUNDS; round++) {
    (void)snprintf(c.id, sizeof c.id, "round-%u", round);
    assert_int_equal(make_writable_shadow(c.rig.engine, c.id), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
      writers[i] = (struct member){&c, i, 0};
      assert_int_equal(pthread_create(&threads[i], NULL, write_overlay, &writers[i]), 0);
    }
    if (round % 4 == 3) /* under their hands */
      assert_int_equal(cow_engine_delete(c.rig.engine, c.id, true, &err), 0);
    for (unsigned i = 0; i < WRITERS; i++)
      pthread_join(threads[i], NULL);
    int r = round % 4 == 3 ? -ENOENT : read_whole(c.rig.engine, c.id, image);
    for (unsigned i = 0; i < WRITERS && r == 0; i++)
      for (uint64_t sector = i; sector < writers[i].written; sector += WRITERS)
        assert_int_equal(image[sector * 512], i + 1);
    whole_ones += r == 0;
    gone += r != 0;
    if (round % 2 == 0)
      (void)cow_engine_delete(c.rig.engine, c.id, false, &err);
  }
  atomic_store(&c.stop, true);
  pthread_join(volume_thread, NULL);
  assert_null(cow_engine_check(c.rig.engine));
  assert_true(whole_ones > ROUNDS / 4 && gone > 0);
  cow_engine_drop_all(c.rig.engine, "end");
  assert_int_equal(used_chunks(&c.rig), 0);
  tear_down(&c.rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nobody_else_sees_it),      cmocka_unit_test(writable_until_sealed),
      cmocka_unit_test(room_is_for_old_data),     cmocka_unit_test(differences_and_reverts_are_of_what_is_shown),
      cmocka_unit_test(damaged_keys_are_refused), cmocka_unit_test(threads_write_to_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
