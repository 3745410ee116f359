/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the engine's parts are made for at most, and that what serves writes is there from the start: no memory is got
 * on the way.
 */
#include "common/cleanup.h"
#include "tests/unit/cow/engine-rig.h"

#include <sys/stat.h>

/* What is made from them is refused when they are one beyond, and made when they are not. */
static void sizes_have_limits(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  struct cow_arena arena;
  static const struct {
    struct cow_geometry geometry;
    uint32_t slots;
    bool ok;
  } arenas[] = {
      {{CHUNK, COW_CHUNK_BYTES_MIN}, 1, true},
      {{CHUNK, COW_CHUNK_BYTES_MAX}, 1, true},
      {{CHUNK, COW_CHUNK_BYTES_MIN / 2}, 1, false},
      {{CHUNK, COW_CHUNK_BYTES_MAX * 2}, 1, false},
      {{CHUNK, COW_CHUNK_BYTES_MIN * 3}, 1, false},
      {{0, COW_CHUNK_BYTES_MIN}, 1, false},
      {{CHUNK + 1, COW_CHUNK_BYTES_MIN}, 1, false},
      {{(COW_CHUNKS_MAX + 1) * COW_CHUNK_BYTES_MIN, COW_CHUNK_BYTES_MIN}, 1, false},
      {{CHUNK, COW_CHUNK_BYTES_MIN}, 0, false},
      {{CHUNK, COW_CHUNK_BYTES_MIN}, COW_SLOTS_MAX + 1, false},
  };
  for (size_t i = 0; i < sizeof arenas / sizeof arenas[0]; i++) {
    int code = cow_arena_create(&arena, &arenas[i].geometry, arenas[i].slots, COW_SLOTS_MAX, &err);
    assert_int_equal(code < 0, !arenas[i].ok);
    if (code >= 0)
      cow_arena_done(&arena);
  }
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  struct cow_storage_options so = {.fd = r.storage_fd, .chunk_bytes = CHUNK, .limit_bytes = CHUNK - 1};
  struct cow_storage *storage;
  assert_int_equal(cow_storage_open(&so, &storage, &err), -ENOSPC);
  assert_non_null(strstr(err.message, "less than one chunk"));
  stop_server(&r);
  so.limit_bytes = 64 * CHUNK;
  assert_int_equal(cow_storage_open(&so, &r.storage, &err), 0);
  struct cow_engine_options eo = {.origin_fd = r.origin_fd, .storage = r.storage, .arena = &r.arena};
  for (unsigned i = 0; i < 2; i++) {
    eo.lanes = i == 0 ? 0 : COW_LANES_MAX + 1;
    assert_true(cow_engine_open(&eo, &r.engine, &err) < 0);
  }
  eo.lanes = COW_LANES_MAX;
  assert_int_equal(cow_engine_open(&eo, &r.engine, &err), 0);
  /* As many together as may be, each with its place. */
  struct cow_request requests[COW_REQUESTS_MAX];
  CLEANUP_FREE unsigned char *data = aligned_alloc(COW_BUFFER_ALIGNMENT, COW_REQUESTS_MAX * COW_BUFFER_ALIGNMENT);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  for (size_t pass = 0; pass < 2; pass++) {
    for (size_t i = 0; i < COW_REQUESTS_MAX; i++) {
      requests[i] = (struct cow_request){.write = pass == 0,
                                         .buffer = data + i * COW_BUFFER_ALIGNMENT,
                                         .length_bytes = 512,
                                         .offset_bytes = (i * 37 % COW_REQUESTS_MAX) * CHUNK,
                                         .result = 1};
      memset(requests[i].buffer, pass == 0 ? (int)i + 1 : 0, 512);
    }
    cow_engine_run(r.engine, requests, COW_REQUESTS_MAX);
    for (size_t i = 0; i < COW_REQUESTS_MAX; i++) {
      assert_int_equal(requests[i].result, 0);
      assert_int_equal(((unsigned char *)requests[i].buffer)[511], i + 1);
    }
  }
  struct cow_engine_status status;
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.chunks_copied, COW_REQUESTS_MAX);
  tear_down(&r);
}

/* A file grows by COW_STORAGE_STEP_BYTES, when the step before is used up, and no further than its limit. */
static void storage_grows_in_steps(void **state) {
  (void)state;
  const uint32_t step = COW_STORAGE_STEP_BYTES / COW_CHUNK_BYTES_MAX, slots = step + 2;
  const uint64_t limit_bytes = (uint64_t)slots * COW_CHUNK_BYTES_MAX;
  struct umbra_error err = {0};
  struct cow_storage *storage;
  struct cow_storage_status status;
  uint32_t first, count;
  struct stat st;
  CLEANUP_CLOSE int fd = file_of("steps", 0);
  struct cow_storage_options so = {.fd = fd, .chunk_bytes = COW_CHUNK_BYTES_MAX, .limit_bytes = limit_bytes + 1};
  assert_int_equal(cow_storage_open(&so, &storage, &err), 0);
  for (uint32_t used = 0; used < slots; used += count) {
    cow_storage_status(storage, &status);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(status.bytes, used == 0 ? 0 : used <= step ? COW_STORAGE_STEP_BYTES : limit_bytes);
    assert_int_equal(st.st_size, status.bytes); /* allocated before it counts */
    /* Never more than there is without growing. */
    assert_int_equal(cow_storage_get(storage, used == 0 ? 1 : slots, &first, &count), 0);
    assert_int_equal(first, used);
    assert_int_equal(count, used == 0 ? 1 : used < step ? step - 1 : 2);
  }
  assert_int_equal(cow_storage_get(storage, 1, &first, &count), -ENOSPC);
  cow_storage_close(storage);
  /* What the next server finds in use came with its whole step. */
  for (uint32_t slot = step - 1; slot <= step; slot++) {
    assert_int_equal(cow_storage_open(&so, &storage, &err), 0);
    assert_int_equal(cow_storage_claim(storage, slot), 0);
    cow_storage_status(storage, &status);
    assert_int_equal(status.bytes, slot < step ? COW_STORAGE_STEP_BYTES : limit_bytes);
    cow_storage_close(storage);
  }
}

/* On the way of a write nothing may get memory, and qsort() may. */
static bool qsort_forbidden;
void qsort(void *base, size_t count, size_t bytes, int (*before)(const void *, const void *)) {
  assert_false(qsort_forbidden);
  qsort_r(base, count, bytes, (int (*)(const void *, const void *, void *))(void (*)(void))before, NULL);
}

static void those_that_need_are_in_order_without_memory(void **state) {
  (void)state;
  static struct cow_arena_header h;
  uint32_t numbers[COW_SHADOWS_MAX];
  uint64_t seed = 4711;
  for (unsigned count = 0; count <= COW_SHADOWS_MAX; count = count < 9 ? count + 1 : count * 2 - 2) {
    for (unsigned i = 0; i < COW_SHADOWS_MAX; i++) {
      h.shadows[i].number = (uint32_t)(next_random(&seed) % 100000 + 1);
      atomic_store(&h.shadows[i].state, i < count ? COW_SHADOW_LIVE : COW_SHADOW_DELETING);
    }
    qsort_forbidden = true;
    assert_int_equal(cow_shadows_needing(&h, numbers), count);
    qsort_forbidden = false;
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
      assert_true(i == 0 || numbers[i - 1] <= numbers[i]);
      sum += numbers[i] - (uint64_t)h.shadows[i].number;
    }
    assert_int_equal(sum, 0);
  }
}

/* What the first write works with need not be got from a volume that waits for it. */
static void lanes_are_in_memory_from_the_start(void **state) {
  (void)state;
  struct rig r;
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  const struct {
    const void *at;
    size_t bytes;
  } parts[] = {{r.engine->lanes, r.engine->lane_count * sizeof *r.engine->lanes},
               {r.engine->buffers, (size_t)r.engine->lane_count * COW_COPY_BYTES_MAX}};
  for (size_t p = 0; p < 2; p++)
    for (size_t done = 0; done < parts[p].bytes; done += 4096) {
      unsigned char there = 0;
      uintptr_t page = ((uintptr_t)parts[p].at + done) & ~(uintptr_t)4095;
      assert_int_equal(mincore((void *)page, 4096, &there), 0); /* NOLINT */
      assert_int_equal(there & 1, 1);
    }
  tear_down(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_have_limits),
      cmocka_unit_test(storage_grows_in_steps),
      cmocka_unit_test(those_that_need_are_in_order_without_memory),
      cmocka_unit_test(lanes_are_in_memory_from_the_start),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
