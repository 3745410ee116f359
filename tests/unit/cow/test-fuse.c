/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The FUSE front over a session in this process: requests in the order and the company in which the kernel may send
 * them, the front's limits, and what a new server does first.
 */
#include "common/cleanup.h"
#include "cow/front/fuse.h"
#include "tests/lib/fuse-session.h"
#include "tests/unit/cow/engine-rig.h"

#include <sys/syscall.h>

enum {
  NODE_VOLUME = 2,
  NODE_SHADOWS = 16,
  MIB = 1 << 20,
  ANSWER_BYTES = COW_REQUEST_BYTES_MAX + 64,
  PARTS_MAX = 64,
};

/* A larger volume than the engine's tests have, with a front over it. */
struct session_rig {
  struct rig r;
  uint64_t volume_bytes;
  struct fuse_front *front;
  struct front_seat seat;
  uint64_t unique;
};

/* Discards, as the origin sees them. */
static struct {
  struct {
    uint64_t offset_bytes, length_bytes;
  } parts[PARTS_MAX];
  unsigned count, fail_at; /* the how manieth fails with EIO; 0: none */
  int origin_fd;
} discards;

int fallocate(int fd, int mode, off_t offset, off_t length) {
  if (fd == discards.origin_fd && (mode & FALLOC_FL_PUNCH_HOLE)) {
    assert_true(discards.count < PARTS_MAX);
    discards.parts[discards.count].offset_bytes = (uint64_t)offset;
    discards.parts[discards.count].length_bytes = (uint64_t)length;
    if (++discards.count == discards.fail_at) {
      errno = EIO;
      return -1;
    }
  }
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

static void start_front(struct session_rig *s, int fd, unsigned threads, bool again) {
  struct umbra_error err = {0};
  if (fuse_front_start(&s->seat, fd, s->r.engine, threads, true, again, &s->front, &err) < 0)
    fail_msg("%s", err.message);
}

static void set_up_session(struct session_rig *s, uint64_t volume_bytes) {
  struct umbra_error err = {0};
  struct cow_geometry g = {.volume_bytes = volume_bytes, .chunk_bytes = CHUNK};
  *s = (struct session_rig){.r = {.storage_bytes = 4096 * CHUNK, .policy = COW_FULL_DROP_OLDEST},
                            .volume_bytes = volume_bytes};
  memset(&discards, 0, sizeof discards);
  s->r.origin_fd = discards.origin_fd = file_of("origin", volume_bytes);
  s->r.storage_fd = file_of("storage", 0);
  assert_int_equal(cow_arena_create(&s->r.arena, &g, 4096, COW_SLOTS_MAX, &err), 0);
  start_server(&s->r);
}

static void tear_down_session(struct session_rig *s) {
  if (s->front)
    fuse_front_stop(s->front);
  fuse_session_close();
  tear_down(&s->r);
}

static uint64_t send_read(struct session_rig *s, uint64_t node, uint64_t offset_bytes, uint32_t bytes) {
  struct fuse_read_in in = {.offset = offset_bytes, .size = bytes};
  fuse_session_send(FUSE_READ, node, ++s->unique, &in, sizeof in, NULL, 0);
  return s->unique;
}

static uint64_t send_write(struct session_rig *s, const void *data, uint64_t offset_bytes, uint32_t bytes) {
  struct fuse_write_in in = {.offset = offset_bytes, .size = bytes};
  fuse_session_send(FUSE_WRITE, NODE_VOLUME, ++s->unique, &in, sizeof in, data, bytes);
  return s->unique;
}

static void send_discard(struct session_rig *s, uint64_t offset_bytes, uint64_t bytes) {
  struct fuse_fallocate_in in = {
      .offset = offset_bytes, .length = bytes, .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
  fuse_session_send(FUSE_FALLOCATE, NODE_VOLUME, ++s->unique, &in, sizeof in, NULL, 0);
}

static unsigned char answer[ANSWER_BYTES];
static const struct fuse_out_header *const out = (void *)answer;
static unsigned char *const payload = answer + sizeof(struct fuse_out_header);

/* The answer to the last request. */
static int receive_error(const struct session_rig *s) {
  size_t bytes = fuse_session_receive(answer, sizeof answer);
  assert_int_equal(out->len, bytes);
  assert_int_equal(out->unique, s->unique);
  return out->error;
}

/* Shadow copy 1 at [offset, +length) is filled with value. */
static void check_shadow(struct session_rig *s, unsigned char value, uint64_t offset_bytes, uint64_t length_bytes) {
  struct umbra_error err = {0};
  struct cow_shadow *shadow;
  unsigned char *b = aligned_alloc(COW_BUFFER_ALIGNMENT, CHUNK), *wanted = filled(value, CHUNK);
  assert_int_equal(cow_shadow_open(s->r.engine, "a", &shadow, &err), 0);
  for (uint64_t at = offset_bytes; at < offset_bytes + length_bytes; at += CHUNK) {
    assert_int_equal(cow_shadow_read(shadow, b, CHUNK, at), 0);
    assert_memory_equal(b, wanted, CHUNK);
  }
  cow_shadow_close(shadow);
  free(b);
  free(wanted);
}

/* ---- a new server ---- */

static void what_was_not_answered_is_asked_for_before_anything_is_read(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, VOLUME_BYTES);
  int fd = fuse_session_open();
  (void)send_read(&s, NODE_VOLUME, 0, CHUNK);
  start_front(&s, fd, 2, true);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(fuse_session_resent().count, 1);
  assert_false(fuse_session_resent().after_read);
  tear_down_session(&s);
}

static void send_init(struct session_rig *s, uint32_t flags, uint32_t flags2) {
  struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION, .minor = 38, .flags = flags, .flags2 = flags2};
  fuse_session_send(FUSE_INIT, FUSE_ROOT_ID, ++s->unique, &in, sizeof in, NULL, 0);
}

/* Whether requests are sent again the kernel says in FUSE_INIT; FUSE_INIT_EXT says that there are more flags. */
static void the_kernel_says_whether_it_sends_again(void **state) {
  (void)state;
  const uint32_t resend = 1 << 7;
  static const struct {
    uint32_t flags, flags2, resends;
  } cases[] = {
      {FUSE_INIT_EXT, resend, FRONT_RESENDS}, {FUSE_INIT_EXT, 0, FRONT_RESENDS_NOT}, {0, resend, FRONT_RESENDS_NOT}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct session_rig s;
    set_up_session(&s, VOLUME_BYTES);
    start_front(&s, fuse_session_open(), 1, false);
    assert_int_equal(atomic_load(&s.seat.resends), FRONT_RESENDS_UNKNOWN);
    send_init(&s, cases[i].flags, cases[i].flags2);
    assert_int_equal(receive_error(&s), 0);
    assert_int_equal(atomic_load(&s.seat.resends), cases[i].resends);
    tear_down_session(&s);
  }
}

/* Where it does not: who had nothing is replaced, who had something is not, and neither is asked about again. */
static void what_is_lost_is_not_served_on(void **state) {
  (void)state;
  struct session_rig s;
  struct umbra_error err = {0};
  set_up_session(&s, VOLUME_BYTES);
  int fd = fuse_session_open();
  atomic_store(&s.seat.resends, FRONT_RESENDS_NOT);
  atomic_store(&s.seat.held, 1);
  assert_true(front_has_lost(&s.seat));
  assert_int_equal(fuse_front_start(&s.seat, fd, s.r.engine, 1, true, true, &s.front, &err), -ENODATA);
  assert_null(s.front);
  atomic_store(&s.seat.held, 0);
  start_front(&s, fd, 2, true);
  (void)send_read(&s, NODE_VOLUME, 0, CHUNK);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(fuse_session_resent().count, 0);
  fuse_front_stop(s.front);
  s.front = NULL;
  assert_int_equal(atomic_load(&s.seat.held), 0); /* who ends in order has answered all */
  /* Where it does, what is counted is sent again. */
  atomic_store(&s.seat.resends, FRONT_RESENDS);
  atomic_store(&s.seat.held, 3);
  assert_false(front_has_lost(&s.seat));
  start_front(&s, fd, 1, true);
  assert_int_equal(fuse_session_resent().count, 1);
  fuse_front_stop(s.front);
  s.front = NULL;
  assert_int_equal(atomic_load(&s.seat.held), 0);
  tear_down_session(&s);
}

static void the_first_server_asks_for_nothing(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, VOLUME_BYTES);
  start_front(&s, fuse_session_open(), 1, false);
  (void)send_read(&s, NODE_VOLUME, 0, CHUNK);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(fuse_session_resent().count, 0);
  tear_down_session(&s);
}

/* ---- discards ---- */

/* While a shadow copy lives no part is longer than a request, so that an instant waits for no more than that. */
static void discards_go_in_parts(void **state) {
  (void)state;
  struct session_rig s;
  const uint64_t volume_bytes = 5 * MIB, offset = 3 * 512, length = 4 * MIB + 7 * 512;
  set_up_session(&s, volume_bytes);
  CLEANUP_FREE unsigned char *before = filled(7, volume_bytes), *zeros = filled(0, length);
  assert_int_equal(fd_pwrite_all(s.r.origin_fd, before, volume_bytes, 0), 0);
  assert_int_equal(make_shadow(s.r.engine, "a"), 0);
  start_front(&s, fuse_session_open(), 1, false);
  send_discard(&s, offset, length);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(discards.count, 5);
  uint64_t at = offset;
  for (unsigned i = 0; i < discards.count; i++) {
    assert_int_equal(discards.parts[i].offset_bytes, at);
    assert_true(discards.parts[i].length_bytes <= COW_REQUEST_BYTES_MAX);
    at += discards.parts[i].length_bytes;
  }
  assert_int_equal(at, offset + length);
  CLEANUP_FREE unsigned char *now = malloc(volume_bytes);
  assert_int_equal(fd_pread_all(s.r.origin_fd, now, volume_bytes, 0), 0);
  assert_memory_equal(now, before, offset);
  assert_memory_equal(now + offset, zeros, length);
  assert_memory_equal(now + offset + length, before, volume_bytes - offset - length);
  check_shadow(&s, 7, 0, volume_bytes);
  tear_down_session(&s);
}

static void a_discard_that_fails_half_way_says_so(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, 4 * MIB);
  CLEANUP_FREE unsigned char *before = filled(7, 4 * MIB);
  assert_int_equal(fd_pwrite_all(s.r.origin_fd, before, 4 * MIB, 0), 0);
  assert_int_equal(make_shadow(s.r.engine, "a"), 0);
  start_front(&s, fuse_session_open(), 1, false);
  discards.fail_at = 2;
  send_discard(&s, 0, 4 * MIB);
  assert_int_equal(receive_error(&s), -EIO);
  assert_int_equal(discards.count, 2);
  check_shadow(&s, 7, 0, 4 * MIB);
  tear_down_session(&s);
}

/* Without one, parts are long, but there are parts: one that begins meanwhile has its turn. */
static void long_discards_are_cut_too(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, 600ULL * MIB);
  start_front(&s, fuse_session_open(), 1, false);
  send_discard(&s, 0, 600ULL * MIB);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(discards.count, 3);
  send_discard(&s, 600ULL * MIB - 512, 1024);
  assert_int_equal(receive_error(&s), -EINVAL);
  assert_int_equal(discards.count, 3);
  tear_down_session(&s);
}

/* ---- what comes together ---- */

/* As many as there are, of any length: more than the buffers hold at once, each with its own data and answer. */
static void long_requests_among_short_ones(void **state) {
  (void)state;
  enum { REQUESTS = 40 };
  struct session_rig s;
  set_up_session(&s, REQUESTS * MIB);
  int fd = fuse_session_open();
  bool seen[REQUESTS * 2 + 1] = {0};
  CLEANUP_FREE unsigned char *data = malloc(MIB), *image = calloc(REQUESTS, MIB);
  for (unsigned i = 0; i < REQUESTS; i++) {
    uint32_t bytes = i % 3 == 1 ? 512 : i % 3 == 2 ? MIB : 64 * 1024 + 512 * i;
    memset(data, (int)i + 1, bytes);
    memset(image + (size_t)i * MIB, (int)i + 1, bytes);
    (void)send_write(&s, data, (uint64_t)i * MIB, bytes);
  }
  /* All are there before anybody reads. */
  start_front(&s, fd, 1, false);
  for (unsigned i = 0; i < REQUESTS; i++) {
    assert_int_equal(fuse_session_receive(answer, sizeof answer), sizeof *out + sizeof(struct fuse_write_out));
    assert_int_equal(out->error, 0);
    assert_in_range(out->unique, 1, REQUESTS);
    assert_false(seen[out->unique]);
    seen[out->unique] = true;
  }
  for (unsigned i = 0; i < REQUESTS; i++)
    (void)send_read(&s, NODE_VOLUME, (uint64_t)i * MIB, MIB);
  for (unsigned i = 0; i < REQUESTS; i++) {
    assert_int_equal(fuse_session_receive(answer, sizeof answer), sizeof *out + MIB);
    assert_in_range(out->unique, REQUESTS + 1, REQUESTS * 2);
    assert_false(seen[out->unique]);
    seen[out->unique] = true;
    assert_memory_equal(payload, image + (size_t)(out->unique - REQUESTS - 1) * MIB, MIB);
  }
  tear_down_session(&s);
}

static void a_batch_has_its_limit(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, VOLUME_BYTES);
  int fd = fuse_session_open();
  const unsigned requests = FUSE_FRONT_BATCH_MAX + 8;
  for (unsigned i = 0; i < requests; i++)
    (void)send_read(&s, NODE_VOLUME, (uint64_t)i * CHUNK, 512);
  start_front(&s, fd, 1, false);
  for (unsigned i = 0; i < requests; i++)
    assert_int_equal(fuse_session_receive(answer, sizeof answer), sizeof *out + 512);
  assert_int_equal(fuse_session_batch_most(), FUSE_FRONT_BATCH_MAX);
  tear_down_session(&s);
}

/* ---- limits ---- */

static void threads_have_a_limit(void **state) {
  (void)state;
  struct session_rig s;
  struct umbra_error err = {0};
  set_up_session(&s, VOLUME_BYTES);
  int fd = fuse_session_open();
  for (unsigned i = 0; i < 2; i++) {
    unsigned threads = i == 0 ? 0 : FUSE_FRONT_THREADS_MAX + 1;
    assert_int_equal(fuse_front_start(&s.seat, fd, s.r.engine, threads, true, false, &s.front, &err), -EINVAL);
    assert_non_null(strstr(err.message, "1 to 128"));
  }
  s.front = NULL;
  start_front(&s, fd, FUSE_FRONT_THREADS_MAX, false);
  for (unsigned i = 0; i < 2 * FUSE_FRONT_THREADS_MAX; i++)
    (void)send_read(&s, NODE_VOLUME, 0, CHUNK);
  for (unsigned i = 0; i < 2 * FUSE_FRONT_THREADS_MAX; i++)
    assert_int_equal(fuse_session_receive(answer, sizeof answer), sizeof *out + CHUNK);
  tear_down_session(&s);
}

static void requests_have_a_limit(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, 4 * MIB);
  start_front(&s, fuse_session_open(), 1, false);
  CLEANUP_FREE unsigned char *data = filled(3, 2 * MIB);
  (void)send_write(&s, data, 0, COW_REQUEST_BYTES_MAX);
  assert_int_equal(receive_error(&s), 0);
  /* Says more than it brings, and more than there may be. */
  struct fuse_write_in in = {.size = COW_REQUEST_BYTES_MAX + 512};
  fuse_session_send(FUSE_WRITE, NODE_VOLUME, ++s.unique, &in, sizeof in, data, COW_REQUEST_BYTES_MAX);
  assert_int_equal(receive_error(&s), -EINVAL);
  in.size = 1024;
  fuse_session_send(FUSE_WRITE, NODE_VOLUME, ++s.unique, &in, sizeof in, data, 512);
  assert_int_equal(receive_error(&s), -EINVAL);
  (void)send_read(&s, NODE_VOLUME, 0, COW_REQUEST_BYTES_MAX);
  assert_int_equal(receive_error(&s), 0);
  (void)send_read(&s, NODE_VOLUME, 0, COW_REQUEST_BYTES_MAX + 1);
  assert_int_equal(receive_error(&s), -EINVAL);
  (void)send_read(&s, NODE_VOLUME, 4 * MIB - 700, 4096);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(out->len, sizeof *out + 700);
  (void)send_read(&s, NODE_VOLUME, 4 * MIB, 4096);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(out->len, sizeof *out);
  /* A name as long as a request may be is none of ours. */
  fuse_session_send(FUSE_LOOKUP, FUSE_ROOT_ID, ++s.unique, data, MIB, NULL, 0);
  assert_int_equal(receive_error(&s), -ENOENT);
  tear_down_session(&s);
}

/* Every one of the table can be open at once, by its own file. */
static void all_shadow_copies_can_be_open(void **state) {
  (void)state;
  struct session_rig s;
  set_up_session(&s, VOLUME_BYTES);
  for (unsigned i = 0; i < COW_SHADOWS_MAX; i++) {
    char id[37];
    (void)snprintf(id, sizeof id, "s%u", i);
    assert_int_equal(make_shadow(s.r.engine, id), 0);
  }
  start_front(&s, fuse_session_open(), 1, false);
  struct fuse_open_in in = {.flags = O_RDONLY};
  for (unsigned i = 1; i <= COW_SHADOWS_MAX; i++) {
    fuse_session_send(FUSE_OPEN, NODE_SHADOWS + i, ++s.unique, &in, sizeof in, NULL, 0);
    assert_int_equal(receive_error(&s), 0);
    (void)send_read(&s, NODE_SHADOWS + i, 0, CHUNK);
    assert_int_equal(receive_error(&s), 0);
  }
  fuse_session_send(FUSE_OPEN, NODE_SHADOWS + COW_SHADOWS_MAX + 1, ++s.unique, &in, sizeof in, NULL, 0);
  assert_int_equal(receive_error(&s), -ENFILE);
  struct umbra_error err = {0};
  assert_int_equal(cow_engine_delete(s.r.engine, "s5", false, &err), -EBUSY);
  struct fuse_release_in release = {0};
  fuse_session_send(FUSE_RELEASE, NODE_SHADOWS + 6, ++s.unique, &release, sizeof release, NULL, 0);
  assert_int_equal(receive_error(&s), 0);
  assert_int_equal(cow_engine_delete(s.r.engine, "s5", false, &err), 0);
  tear_down_session(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_not_answered_is_asked_for_before_anything_is_read),
      cmocka_unit_test(the_kernel_says_whether_it_sends_again),
      cmocka_unit_test(what_is_lost_is_not_served_on),
      cmocka_unit_test(the_first_server_asks_for_nothing),
      cmocka_unit_test(discards_go_in_parts),
      cmocka_unit_test(a_discard_that_fails_half_way_says_so),
      cmocka_unit_test(long_discards_are_cut_too),
      cmocka_unit_test(long_requests_among_short_ones),
      cmocka_unit_test(a_batch_has_its_limit),
      cmocka_unit_test(threads_have_a_limit),
      cmocka_unit_test(requests_have_a_limit),
      cmocka_unit_test(all_shadow_copies_can_be_open),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
