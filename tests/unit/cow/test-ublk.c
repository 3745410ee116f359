/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the ublk front does with requests as the kernel describes them, and with descriptions that make no sense. */
#include "engine-rig.h"

#include "cow/front/ublk-queue.h"

enum { TAGS = 8, TAG_BYTES = COW_REQUEST_BYTES_MAX, SECTORS = VOLUME_BYTES / 512 };

/* The data of each tag's request, as the kernel keeps it. */
struct kernel {
  unsigned char *data[TAGS];
  int refuse;     /* a tag whose data cannot be had, or -1 */
  unsigned moves; /* so far */
};

static int move(void *context, uint16_t tag, bool from_request, void *buffer, size_t bytes) {
  struct kernel *k = context;
  assert_in_range(tag, 0, TAGS - 1);
  assert_true(bytes <= TAG_BYTES);
  k->moves++;
  if ((int)tag == k->refuse)
    return -EFAULT;
  if (from_request)
    memcpy(buffer, k->data[tag], bytes);
  else
    memcpy(k->data[tag], buffer, bytes);
  return 0;
}

struct front_rig {
  struct rig rig;
  struct kernel kernel;
  struct ublk_worker worker;
};

static void set_up_front(struct front_rig *f) {
  set_up(&f->rig, UINT64_C(1000) * CHUNK, COW_FULL_DROP_OLDEST);
  f->kernel = (struct kernel){.refuse = -1};
  for (int i = 0; i < TAGS; i++)
    f->kernel.data[i] = filled(0, TAG_BYTES);
  f->worker = (struct ublk_worker){.engine = f->rig.engine,
                                   .data = aligned_alloc(COW_BUFFER_ALIGNMENT, UBLK_DATA_BYTES),
                                   .move = move,
                                   .move_context = &f->kernel};
  assert_non_null(f->worker.data);
}

static void tear_down_front(struct front_rig *f) {
  for (int i = 0; i < TAGS; i++)
    free(f->kernel.data[i]);
  free(f->worker.data);
  tear_down(&f->rig);
}

static struct ublk_request request(uint16_t tag, uint32_t op, uint64_t start, uint32_t sectors) {
  return (struct ublk_request){
      .tag = tag,
      .descriptor = {.op_flags = op, .start_sector = start, .nr_sectors = sectors},
      .result = 12345, /* to be seen that it is set */
  };
}

static void assert_volume(struct front_rig *f, uint64_t offset, size_t bytes, unsigned char value) {
  unsigned char *got = malloc(bytes);
  assert_int_equal(fd_pread_all(f->rig.origin_fd, got, bytes, offset), 0);
  for (size_t i = 0; i < bytes; i++)
    if (got[i] != value)
      fail_msg("byte %zu is %u and not %u", (size_t)(offset + i), got[i], value);
  free(got);
}

static void test_all_kinds_together(void **state) {
  (void)state;
  struct front_rig f;
  set_up_front(&f);
  unsigned char *shadow = malloc(VOLUME_BYTES);
  memset(f.kernel.data[0], 7, 16 * 512);
  struct ublk_request before = request(0, UBLK_IO_OP_WRITE, 0, 16);
  ublk_answer(&f.worker, &before, 1);
  assert_int_equal(before.result, 16 * 512);
  assert_volume(&f, 0, 8192, 7);
  assert_int_equal(make_shadow(f.rig.engine, "one"), 0);

  memset(f.kernel.data[1], 8, 512);
  memset(f.kernel.data[3], 9, 3 * 512);
  struct ublk_request all[] = {
      request(1, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 1, 1),
      request(2, UBLK_IO_OP_READ, 8, 8), /* not what is written beside it */
      request(3, UBLK_IO_OP_WRITE, SECTORS - 3, 3),
      request(4, UBLK_IO_OP_FLUSH, 0, 0),
      request(5, UBLK_IO_OP_DISCARD, 2, 6),
      request(6, UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_FUA, 1000, 8),
  };
  ublk_answer(&f.worker, all, 6);
  assert_int_equal(all[0].result, 512);
  assert_int_equal(all[1].result, 8 * 512);
  assert_int_equal(all[2].result, 3 * 512);
  for (int i = 3; i < 6; i++)
    assert_int_equal(all[i].result, 0);
  assert_volume(&f, 512, 512, 8);
  assert_volume(&f, 1024, 6 * 512, 0);
  assert_volume(&f, VOLUME_BYTES - 3 * 512, 3 * 512, 9);
  for (int i = 0; i < 8 * 512; i++)
    assert_int_equal(f.kernel.data[2][i], 7);
  assert_int_equal(read_whole(f.rig.engine, "one", shadow), 0);
  for (int i = 0; i < 8192; i++)
    assert_int_equal(shadow[i], 7);
  for (int i = VOLUME_BYTES - 3 * 512; i < VOLUME_BYTES; i++)
    assert_int_equal(shadow[i], 0);
  assert_null(cow_engine_check(f.rig.engine));
  free(shadow);
  tear_down_front(&f);
}

/* More data than there is room for in one go, and more requests than the engine takes. */
static void test_more_than_fits(void **state) {
  (void)state;
  struct front_rig f;
  set_up_front(&f);
  enum { MANY = UBLK_QUEUE_DEPTH };
  const uint32_t most = COW_REQUEST_BYTES_MAX / 512 < SECTORS ? COW_REQUEST_BYTES_MAX / 512 : SECTORS;
  struct ublk_request *all = calloc(MANY, sizeof *all);
  for (int i = 0; i < MANY; i++)
    all[i] = request((uint16_t)(i % TAGS), UBLK_IO_OP_WRITE, 0, most);
  for (int i = 0; i < TAGS; i++)
    memset(f.kernel.data[i], 50, TAG_BYTES);
  ublk_answer(&f.worker, all, MANY);
  for (int i = 0; i < MANY; i++)
    assert_int_equal(all[i].result, (int)most * 512);
  assert_int_equal(f.kernel.moves, MANY);
  assert_volume(&f, 0, (size_t)most * 512, 50);
  free(all);
  tear_down_front(&f);
}

static void test_nonsense(void **state) {
  (void)state;
  struct front_rig f;
  set_up_front(&f);
  const uint32_t too_many = COW_REQUEST_BYTES_MAX / 512 + 1;
  memset(f.kernel.data[0], 99, TAG_BYTES);
  struct ublk_request bad[] = {
      request(0, UBLK_IO_OP_WRITE, SECTORS, 1),
      request(0, UBLK_IO_OP_WRITE, SECTORS - 1, 2),
      request(0, UBLK_IO_OP_WRITE, 0, 0),
      request(0, UBLK_IO_OP_WRITE, 0, too_many),
      request(0, UBLK_IO_OP_WRITE, UINT64_MAX, 1),
      request(0, UBLK_IO_OP_WRITE, UINT64_MAX / 512 + 1, 1),
      request(0, UBLK_IO_OP_WRITE, 0, UINT32_MAX),
      request(0, UBLK_IO_OP_READ, SECTORS, 8),
      request(0, UBLK_IO_OP_READ, UINT64_MAX - 7, 8),
      request(0, UBLK_IO_OP_DISCARD, SECTORS, 1),
      request(0, UBLK_IO_OP_DISCARD, UINT64_MAX, 2),
      request(0, UBLK_IO_OP_WRITE_ZEROES, 1, SECTORS),
      request(0, UBLK_IO_OP_DISCARD, UINT64_MAX / 512 + 1, 8),
  };
  struct ublk_request unknown[] = {request(0, UBLK_IO_OP_WRITE_SAME, 0, 1), request(0, 77, 0, 1),
                                   request(0, 0xff, UINT64_MAX, UINT32_MAX)};
  ublk_answer(&f.worker, bad, sizeof bad / sizeof bad[0]);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    if (bad[i].result != -EINVAL)
      fail_msg("nonsense %zu gave %d", i, bad[i].result);
  ublk_answer(&f.worker, unknown, 3);
  for (int i = 0; i < 3; i++)
    assert_int_equal(unknown[i].result, -EOPNOTSUPP);
  assert_int_equal(f.kernel.moves, 0);
  assert_volume(&f, 0, VOLUME_BYTES, 0);
  tear_down_front(&f);
}

/* One whose data cannot be had fails alone. */
static void test_data_that_does_not_come(void **state) {
  (void)state;
  struct front_rig f;
  set_up_front(&f);
  for (int i = 0; i < 3; i++)
    memset(f.kernel.data[i], i + 1, 512);
  f.kernel.refuse = 1;
  struct ublk_request all[] = {request(0, UBLK_IO_OP_WRITE, 0, 1), request(1, UBLK_IO_OP_WRITE, 1, 1),
                               request(2, UBLK_IO_OP_WRITE, 2, 1), request(1, UBLK_IO_OP_READ, 5, 1)};
  ublk_answer(&f.worker, all, 4);
  assert_int_equal(all[0].result, 512);
  assert_int_equal(all[1].result, -EFAULT);
  assert_int_equal(all[2].result, 512);
  assert_int_equal(all[3].result, -EFAULT);
  assert_volume(&f, 0, 512, 1);
  assert_volume(&f, 512, 512, 0);
  assert_volume(&f, 1024, 512, 3);
  tear_down_front(&f);
}

/* An origin that fails: its own error, and nothing is said to be done. A memory file that may not grow or be written.
 */
static void test_origin_that_fails(void **state) {
  (void)state;
  struct front_rig f;
  set_up_front(&f);
  assert_int_equal(fcntl(f.rig.origin_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  struct ublk_request all[] = {request(0, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 8), request(1, UBLK_IO_OP_READ, 0, 8),
                               request(2, UBLK_IO_OP_DISCARD, 0, 8)};
  ublk_answer(&f.worker, all, 3);
  assert_int_equal(all[0].result, -EPERM);
  assert_int_equal(all[1].result, 8 * 512);
  assert_int_equal(all[2].result, -EPERM);
  tear_down_front(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_kinds_together), cmocka_unit_test(test_more_than_fits),
      cmocka_unit_test(test_nonsense),           cmocka_unit_test(test_data_that_does_not_come),
      cmocka_unit_test(test_origin_that_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
