/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine when storage is full or fails: writes that are to stop do, others go on; who needs what could not be
 * kept is dropped, and nobody else.
 */
#include "common/cleanup.h"
#include "tests/unit/cow/engine-rig.h"

#include <signal.h>
#include <sys/resource.h>

static void stop_writes_stops_them(void **state) {
  (void)state;
  struct rig r;
  struct umbra_error err = {0};
  set_up(&r, 4 * CHUNK, COW_FULL_STOP_WRITES);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  for (unsigned i = 0; i < 4; i++)
    assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)i * CHUNK), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 4 * CHUNK), -ENOSPC);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(cow_engine_delete(r.engine, "a", false, &err), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 4 * CHUNK), 0);
  tear_down(&r);
}

/* The storage fails: who needs it is dropped, the write goes on, what older ones have stays. */
static void failing_storage_drops(void **state) {
  (void)state;
  struct rig r;
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK), *whole = malloc(VOLUME_BYTES);
  assert_int_equal(make_shadow(r.engine, "old"), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(make_shadow(r.engine, "new"), 0);
  assert_int_equal(fcntl(r.storage_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  /* Chunk 0: old has its own. */
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(read_whole(r.engine, "new", whole), -EIO);
  assert_int_equal(read_whole(r.engine, "old", whole), 0);
  assert_int_equal(whole[0], 0);
  /* The next server starts although nothing can be allocated there any more. */
  char path[FD_PROC_PATH_BYTES];
  int writable = r.storage_fd;
  r.storage_fd = open(fd_proc_path(writable, path), O_RDONLY | O_CLOEXEC);
  close(writable);
  restart_server(&r);
  assert_int_equal(read_whole(r.engine, "old", whole), 0);
  /* Chunk 1: old needs it, too. */
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CHUNK), 0);
  assert_int_equal(read_whole(r.engine, "old", whole), -EIO);
  assert_int_equal(r.events[COW_EVENT_DROPPED], 2);
  assert_int_equal(cow_engine_read(r.engine, whole, CHUNK, CHUNK), 0);
  assert_int_equal(whole[0], 1);
  tear_down(&r);
}

/* What the origin refused was not written. */
static void what_failed_is_not_counted(void **state) {
  (void)state;
  struct rig r;
  struct cow_engine_status status;
  set_up(&r, 64 * CHUNK, COW_FULL_DROP_OLDEST);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, 0), 0);
  assert_int_equal(fcntl(r.origin_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, CHUNK), -EPERM);
  cow_engine_status(r.engine, &status);
  assert_int_equal(status.bytes_written, CHUNK);
  tear_down(&r);
}

static enum cow_shadow_state state_of(struct cow_engine *e, const char *id) {
  struct cow_shadow_info all[8];
  size_t count = cow_engine_list(e, all, 8);
  for (size_t i = 0; i < count; i++)
    if (strcmp(all[i].id, id) == 0)
      return all[i].state;
  return COW_SHADOW_FREE;
}

/* Full: who does not need what is to be stored is not dropped for it, nor is more than makes room. */
static void drops_no_more_than_needed(void **state) {
  (void)state;
  CLEANUP_FREE unsigned char *b = filled(1, (uint64_t)51 * CHUNK);
  const unsigned slots[] = {100, 50}, chunks[] = {51, 1};
  for (size_t i = 0; i < 2; i++) {
    struct rig r;
    set_up(&r, (uint64_t)slots[i] * CHUNK, COW_FULL_DROP_NEWEST);
    assert_int_equal(make_shadow(r.engine, "a"), 0);
    assert_int_equal(cow_engine_write(r.engine, b, (size_t)50 * CHUNK, 0), 0);
    assert_int_equal(make_shadow(r.engine, "b"), 0);
    assert_int_equal(cow_engine_write(r.engine, b, (size_t)chunks[i] * CHUNK, 0), 0);
    assert_int_equal(state_of(r.engine, "a"), COW_SHADOW_LIVE);
    assert_int_equal(state_of(r.engine, "b"), COW_SHADOW_DROPPED);
    tear_down(&r);
  }
}

/* Slot 2 cannot be written, slot 1 beside it can: only who needs slot 2's chunk is dropped. */
static void one_bad_place_costs_one_chunk(void **state) {
  (void)state;
  struct rig r;
  struct rlimit limit = {(rlim_t)2 * CHUNK, RLIM_INFINITY};
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  set_up(&r, 100 * CHUNK, COW_FULL_DROP_OLDEST);
  (void)signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(make_shadow(r.engine, "a"), 0);
  assert_int_equal(cow_engine_write(r.engine, b, CHUNK, (uint64_t)30 * CHUNK), 0);
  assert_int_equal(make_shadow(r.engine, "b"), 0);
  struct cow_request q[] = {
      {.write = true, .buffer = b, .length_bytes = CHUNK, .offset_bytes = (uint64_t)20 * CHUNK},
      {.write = true, .buffer = b, .length_bytes = CHUNK, .offset_bytes = (uint64_t)30 * CHUNK}};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  cow_engine_run(r.engine, q, 2);
  limit.rlim_cur = RLIM_INFINITY;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_int_equal(state_of(r.engine, "a"), COW_SHADOW_LIVE);
  assert_int_equal(state_of(r.engine, "b"), COW_SHADOW_DROPPED);
  tear_down(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stop_writes_stops_them),        cmocka_unit_test(failing_storage_drops),
      cmocka_unit_test(what_failed_is_not_counted),    cmocka_unit_test(drops_no_more_than_needed),
      cmocka_unit_test(one_bad_place_costs_one_chunk),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
