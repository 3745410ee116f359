/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfers side by side: all of them are done, each with its own result, on direct and other files, also when the
 * kernel has no context left.
 */
#include "cow/geometry.h"
#include "cow/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = COW_BUFFER_ALIGNMENT, CONTEXTS_MAX = 4096 };

/* A file that is direct where the directory's filesystem can. */
static int direct_file(void) {
  const char *directory = getenv("WORK") ? getenv("WORK") : "/var/tmp";
  int fd = open(directory, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
  return fd >= 0 ? fd : open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Writes all blocks and reads them again, in other places of memory, in one run each. */
static void round_trip(struct cow_io *io, int fd) {
  struct cow_transfer t[COW_IO_TRANSFERS_MAX];
  unsigned char *out = aligned_alloc(BLOCK, (size_t)COW_IO_TRANSFERS_MAX * BLOCK);
  unsigned char *in = aligned_alloc(BLOCK, (size_t)COW_IO_TRANSFERS_MAX * BLOCK);
  for (size_t i = 0; i < COW_IO_TRANSFERS_MAX; i++) {
    memset(out + i * BLOCK, (int)i, BLOCK);
    t[i] = (struct cow_transfer){.fd = fd,
                                 .write = true,
                                 .buffer = out + i * BLOCK,
                                 .length_bytes = BLOCK,
                                 .offset_bytes = i * BLOCK,
                                 .result = 1};
  }
  cow_io_run(io, t, COW_IO_TRANSFERS_MAX);
  for (size_t i = 0; i < COW_IO_TRANSFERS_MAX; i++) {
    assert_int_equal(t[i].result, 0);
    size_t other = COW_IO_TRANSFERS_MAX - 1 - i;
    t[i] = (struct cow_transfer){
        .fd = fd, .buffer = in + other * BLOCK, .length_bytes = BLOCK, .offset_bytes = other * BLOCK, .result = 1};
  }
  cow_io_run(io, t, COW_IO_TRANSFERS_MAX);
  for (size_t i = 0; i < COW_IO_TRANSFERS_MAX; i++)
    assert_int_equal(t[i].result, 0);
  assert_memory_equal(in, out, (size_t)COW_IO_TRANSFERS_MAX * BLOCK);
  free(out);
  free(in);
}

static void all_are_done(void **state) {
  (void)state;
  struct cow_io io;
  cow_io_init(&io);
  int direct = direct_file(), memory = memfd_create("io", MFD_CLOEXEC);
  assert_true(direct >= 0 && memory >= 0);
  round_trip(&io, direct);
  round_trip(&io, memory);
  close(direct);
  close(memory);
  cow_io_done(&io);
}

static void each_has_its_result(void **state) {
  (void)state;
  struct cow_io io;
  cow_io_init(&io);
  int fd = direct_file(), reader = open("/dev/null", O_RDONLY | O_CLOEXEC);
  unsigned char *buffer = aligned_alloc(BLOCK, (size_t)4 * BLOCK);
  memset(buffer, 1, (size_t)4 * BLOCK);
  assert_int_equal(ftruncate(fd, BLOCK), 0);
  struct cow_transfer t[] = {
      {.fd = fd, .write = true, .buffer = buffer, .length_bytes = BLOCK},
      {.fd = reader, .write = true, .buffer = buffer, .length_bytes = BLOCK},
      {.fd = fd,
       .buffer = buffer + BLOCK,
       .length_bytes = BLOCK,
       .offset_bytes = (uint64_t)8 * BLOCK}, /* past the end */
      {.fd = -1, .buffer = buffer + 2 * BLOCK, .length_bytes = BLOCK},
      {.fd = fd, .write = true, .buffer = buffer, .length_bytes = BLOCK, .offset_bytes = BLOCK},
  };
  cow_io_run(&io, t, sizeof t / sizeof t[0]);
  assert_int_equal(t[0].result, 0);
  assert_int_equal(t[1].result, -EBADF);
  assert_int_equal(t[2].result, -ENODATA);
  assert_int_equal(t[3].result, -EBADF);
  assert_int_equal(t[4].result, 0);
  close(fd);
  close(reader);
  free(buffer);
  cow_io_done(&io);
}

/* Takes whatever the kernel has, large ones first, until there is no more. */
static void works_without_a_context(void **state) {
  (void)state;
  static io_context_t taken[CONTEXTS_MAX];
  size_t count = 0;
  for (int size = 1 << 20; size > 0 && count < CONTEXTS_MAX;) {
    taken[count] = NULL;
    if (io_setup(size, &taken[count]) == 0)
      count++;
    else
      size /= 2;
  }
  struct cow_io io;
  cow_io_init(&io);
  int fd = direct_file();
  bool without = io.context == NULL;
  round_trip(&io, fd);
  close(fd);
  cow_io_done(&io);
  while (count > 0)
    (void)io_destroy(taken[--count]);
  assert_true(without);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_are_done), cmocka_unit_test(each_has_its_result),
                                     cmocka_unit_test(works_without_a_context)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
