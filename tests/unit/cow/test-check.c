/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What cow_engine_check() says of an engine in whose memory something is wrong: each case breaks one thing, and
 * mends it again.
 */
#include "cow/engine-state.h"
#include "tests/unit/cow/engine-rig.h"

enum { SLOTS = 64 };

/* Two live shadow copies; chunk 3 has an entry of the first's epoch and one of the second's, chunk 4 of the second's.
 */
static void set_up_two(struct rig *r) {
  unsigned char *data = aligned_alloc(COW_BUFFER_ALIGNMENT, CHUNK);
  memset(data, 1, CHUNK);
  set_up(r, SLOTS * CHUNK, COW_FULL_DROP_OLDEST);
  assert_int_equal(make_shadow(r->engine, "a"), 0);
  assert_int_equal(cow_engine_write(r->engine, data, CHUNK, 3 * CHUNK), 0);
  assert_int_equal(make_shadow(r->engine, "b"), 0);
  assert_int_equal(cow_engine_write(r->engine, data, CHUNK, 3 * CHUNK), 0);
  assert_int_equal(cow_engine_write(r->engine, data, CHUNK, 4 * CHUNK), 0);
  /* In sanitized builds it looks, too, after each pass, and what is about to be broken would end the test. */
  cow_reclaim_stop(r->engine);
  assert_null(cow_engine_check(r->engine));
  free(data);
}

static void expect_broken(struct rig *r, const char *invariant) {
  const char *broken = cow_engine_check(r->engine);
  if (!broken || strncmp(broken, invariant, strlen(invariant)) != 0)
    fail_msg("'%s' was expected: %s", invariant, broken ? broken : "nothing is broken");
}

static _Atomic uint64_t *key_of_chunk(struct rig *r, uint64_t chunk, uint32_t epoch) {
  for (size_t slot = 0; slot < SLOTS; slot++)
    if (atomic_load(&r->arena.keys[slot]) == cow_key(chunk, epoch))
      return &r->arena.keys[slot];
  fail_msg("chunk %llu has no entry of epoch %u", (unsigned long long)chunk, epoch);
  return NULL;
}

static void entries_are_looked_at(void **state) {
  (void)state;
  struct rig r;
  set_up_two(&r);
  _Atomic uint64_t *key = key_of_chunk(&r, 3, 1);
  atomic_store(key, cow_key(3, 2)); /* E2: twice in one epoch */
  expect_broken(&r, "E2");
  atomic_store(key, cow_key(5, 1)); /* another chunk's, in this one's chain */
  expect_broken(&r, "E2");
  atomic_store(key, cow_key(3, 1));
  key = key_of_chunk(&r, 4, 2);
  atomic_store(key, cow_key(4, 3)); /* an epoch that has not begun */
  expect_broken(&r, "E2");
  atomic_store(key, cow_key(4, 2));
  atomic_store(&r.arena.keys[SLOTS - 1], cow_key(9, 1)); /* the next server would believe it */
  expect_broken(&r, "E12");
  atomic_store(&r.arena.keys[SLOTS - 1], 0);
  uint32_t slot, count;
  assert_int_equal(cow_storage_get(r.storage, 1, &slot, &count), 0); /* nobody's */
  expect_broken(&r, "E8");
  cow_storage_put(r.storage, slot);
  assert_null(cow_engine_check(r.engine));
  tear_down(&r);
}

static void covered_chunks_are_looked_at(void **state) {
  (void)state;
  struct rig r;
  set_up_two(&r);
  atomic_fetch_or(&cow_covered(r.engine)[0], UINT64_C(1) << 7);
  expect_broken(&r, "E3");
  atomic_fetch_and(&cow_covered(r.engine)[0], ~(UINT64_C(1) << 7));
  assert_null(cow_engine_check(r.engine));
  tear_down(&r);
}

static void the_table_is_looked_at(void **state) {
  (void)state;
  struct rig r;
  set_up_two(&r);
  struct cow_arena_shadow *a = cow_shadows_find(r.arena.header, "a"), *b = cow_shadows_find(r.arena.header, "b");
  a->number = 2;
  expect_broken(&r, "two shadow copies");
  a->number = 1;
  a->id[0] = 'b';
  expect_broken(&r, "two shadow copies");
  a->id[0] = 'a';
  atomic_store(&b->state, COW_SHADOW_BEGUN);
  expect_broken(&r, "a shadow copy's state");
  atomic_store(&b->state, COW_SHADOW_LIVE);
  atomic_store(&b->kept, COW_KEPT_WANTED);
  expect_broken(&r, "E15");
  atomic_store(&b->kept, COW_KEPT_NOT);
  atomic_fetch_add(&r.engine->live_count, 1);
  expect_broken(&r, "what is known");
  atomic_fetch_sub(&r.engine->live_count, 1);
  assert_null(cow_engine_check(r.engine));
  tear_down(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(entries_are_looked_at),
      cmocka_unit_test(covered_chunks_are_looked_at),
      cmocka_unit_test(the_table_is_looked_at),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
