/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unit test of writers/postgresql/segment.c: names are those of pg_walfile_name(), ends belong to the segment before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "writers/postgresql/segment.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SEGMENT = 16 * 1024 * 1024 };

static void test_positions(void **state) {
  (void)state;
  uint64_t lsn;
  assert_int_equal(segment_parse_lsn("16/B374D848", &lsn), 0);
  assert_true(lsn == UINT64_C(0x16B374D848));
  static const char *const bad[] = {"", "16", "16/", "/1", "16/B374D848 ", "x/1", "1/2/3"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(segment_parse_lsn(bad[i], &lsn), -EINVAL);
}

static void test_names(void **state) {
  (void)state;
  char name[SEGMENT_NAME_BYTES];
  /* SELECT pg_walfile_name('16/B374D848') on timeline 3 */
  struct segments s = segments_between(3, SEGMENT, UINT64_C(0x16B374D848), UINT64_C(0x16B374D849));
  assert_true(s.first == s.last);
  assert_string_equal(segment_name(&s, s.first, name), "0000000300000016000000B3");
  s = segments_between(1, 1024 * 1024, UINT64_C(0x1FFF00000), UINT64_C(0x200100000));
  assert_string_equal(segment_name(&s, s.first, name), "000000010000000100000FFF");
  assert_string_equal(segment_name(&s, s.last, name), "000000010000000200000000");
  /* The log up to a boundary ends in the segment before it. */
  s = segments_between(1, SEGMENT, SEGMENT, 2 * SEGMENT);
  assert_true(s.first == 1 && s.last == 1);
}

static void make(int directory_fd, const char *name, size_t size_bytes) {
  CLEANUP_CLOSE int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0 && ftruncate(fd, (off_t)size_bytes) == 0 && pwrite(fd, name, strlen(name), 100) > 0);
}

static void test_copy(void **state) {
  (void)state;
  char from[] = "/tmp/umbra-segment-XXXXXX", to[] = "/tmp/umbra-segment-XXXXXX";
  assert_non_null(mkdtemp(from));
  assert_non_null(mkdtemp(to));
  CLEANUP_CLOSE int from_fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                    to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct segments s = segments_between(1, 1024 * 1024, 1024 * 1024, UINT64_C(3) * 1024 * 1024);
  static const char *const names[] = {"000000010000000000000001", "000000010000000000000002"};
  uint64_t number = 0;
  make(from_fd, names[0], 1024 * 1024);
  make(to_fd, names[0], 5); /* as far as the copy had it */
  assert_int_equal(segments_copy(&s, from_fd, to_fd, &number), -ENOENT);
  assert_true(number == 2);
  make(from_fd, names[1], 1000); /* shorter than a segment is */
  assert_int_equal(segments_copy(&s, from_fd, to_fd, &number), -ENODATA);
  make(from_fd, names[1], 1024 * 1024);
  assert_int_equal(segments_copy(&s, from_fd, to_fd, &number), 0);
  for (size_t i = 0; i < 2; i++) {
    char text[24];
    struct stat st;
    CLEANUP_CLOSE int fd = openat(to_fd, names[i], O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && st.st_size == 1024 * 1024 &&
                pread(fd, text, sizeof text, 100) == 24);
    assert_memory_equal(text, names[i], sizeof text);
    assert_int_equal(unlinkat(from_fd, names[i], 0), 0);
    assert_int_equal(unlinkat(to_fd, names[i], 0), 0);
  }
  assert_int_equal(rmdir(from), 0);
  assert_int_equal(rmdir(to), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_positions), cmocka_unit_test(test_names),
                                     cmocka_unit_test(test_copy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
