/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An engine on memory files, for the unit tests of the engine: servers that come and go over it, shadow copies made
 * and read as a whole.
 */
#ifndef TESTS_UNIT_COW_ENGINE_RIG_H
#define TESTS_UNIT_COW_ENGINE_RIG_H

#include "common/fd.h"
#include "cow/engine-state.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { CHUNK = 4096, VOLUME_BYTES = 200 * CHUNK + 1536 };

struct rig {
  int origin_fd, storage_fd;
  struct cow_storage *storage;
  struct cow_arena arena;
  struct cow_engine *engine;
  enum cow_full_policy policy;
  uint64_t storage_bytes;
  unsigned events[3]; /* by kind */
  uint64_t seed;
  cow_free_space_fn free_space;
  bool inside; /* storage lies in ranges of the origin */
};

static inline uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static inline uint64_t seed_of_run(void) {
  const char *given = getenv("UMBRA_SEED");
  uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
  print_message("UMBRA_SEED=%llu\n", (unsigned long long)seed);
  return seed ? seed : 1;
}

/* Memory files: O_DIRECT is the caller's choice of descriptor, not the engine's. */
static inline int file_of(const char *name, uint64_t bytes) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
  return fd;
}

static inline void count_event(const struct cow_event *event, void *context) {
  struct rig *r = context;
  __atomic_fetch_add(&r->events[event->kind], 1, __ATOMIC_RELAXED);
}

static inline void start_server(struct rig *r) {
  struct umbra_error err = {0};
  struct cow_storage_options so = {.fd = r->inside ? r->origin_fd : r->storage_fd,
                                   .chunk_bytes = CHUNK,
                                   .limit_bytes = r->storage_bytes,
                                   .extents = r->inside ? r->arena.extents : NULL};
  assert_int_equal(cow_storage_open(&so, &r->storage, &err), 0);
  struct cow_engine_options eo = {.origin_fd = r->origin_fd,
                                  .storage = r->storage,
                                  .arena = &r->arena,
                                  .inside = r->inside,
                                  .full_policy = r->policy,
                                  .lanes = 3, /* fewer than the threads */
                                  .event = count_event,
                                  .event_context = r,
                                  .free_space = r->free_space};
  if (cow_engine_open(&eo, &r->engine, &err) < 0)
    fail_msg("%s", err.message);
}

static inline void stop_server(struct rig *r) {
  cow_engine_close(r->engine);
  cow_storage_close(r->storage);
}

/* As the supervisor does: the descriptors are all that is left. */
static inline void restart_server(struct rig *r) {
  struct umbra_error err = {0};
  int fds[COW_REGIONS];
  stop_server(r);
  for (int i = 0; i < COW_REGIONS; i++)
    fds[i] = dup(r->arena.fds[i]);
  cow_arena_done(&r->arena);
  assert_int_equal(cow_arena_adopt(&r->arena, fds, &err), 0);
  start_server(r);
}

static inline void set_up_free(struct rig *r, uint64_t storage_bytes, enum cow_full_policy policy,
                               cow_free_space_fn free_space) {
  struct umbra_error err = {0};
  struct cow_geometry g = {.volume_bytes = VOLUME_BYTES, .chunk_bytes = CHUNK};
  *r =
      (struct rig){.storage_bytes = storage_bytes, .policy = policy, .seed = seed_of_run(), .free_space = free_space};
  r->origin_fd = file_of("origin", VOLUME_BYTES);
  r->storage_fd = file_of("storage", 0);
  assert_int_equal(cow_arena_create(&r->arena, &g, (uint32_t)(storage_bytes / CHUNK), COW_SLOTS_MAX, &err), 0);
  start_server(r);
}

static inline void set_up(struct rig *r, uint64_t storage_bytes, enum cow_full_policy policy) {
  set_up_free(r, storage_bytes, policy, NULL);
}

static inline void tear_down(struct rig *r) {
  stop_server(r);
  cow_arena_done(&r->arena);
  close(r->origin_fd);
  close(r->storage_fd);
}

static inline int make_shadow(struct cow_engine *e, const char *id) {
  struct umbra_error err = {0};
  int r = cow_engine_begin(e, id, &err);
  return r < 0 ? r : cow_engine_commit(e, id, true);
}

static inline int make_writable_shadow(struct cow_engine *e, const char *id) {
  struct umbra_error err = {0};
  int r = cow_engine_begin(e, id, &err);
  if (r >= 0)
    r = cow_engine_make_writable(e, id, &err);
  return r < 0 ? r : cow_engine_commit(e, id, true);
}

/* Reads a shadow copy in pieces of odd sizes; -EIO when it was dropped. */
static inline int read_whole(struct cow_engine *e, const char *id, unsigned char *to) {
  struct umbra_error err = {0};
  struct cow_shadow *s;
  int r = cow_shadow_open(e, id, &s, &err);
  if (r < 0)
    return r;
  for (uint64_t at = 0; at < VOLUME_BYTES && r >= 0;) {
    uint64_t left = VOLUME_BYTES - at, piece = left < 7 * 512 + 3 * CHUNK ? left : 7 * 512 + 3 * CHUNK;
    r = cow_shadow_read(s, to + at, piece, at);
    at += piece;
  }
  cow_shadow_close(s);
  return r;
}

static inline unsigned char *filled(unsigned char value, uint64_t bytes) {
  unsigned char *b = malloc(bytes);
  memset(b, value, bytes);
  return b;
}

#endif
