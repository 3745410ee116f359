/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs of bits, ranges that cross words, and the edges: common/bitmap.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/bitmap.h"

#include <stdlib.h>

/* Every range of a small bitmap, against a plain array. */
static void test_ranges(void **state) {
  (void)state;
  enum { BITS = 131 };
  for (unsigned first = 0; first < BITS + 2; first++)
    for (unsigned count = 0; count < BITS + 2; count += 1 + first % 3) {
      struct bitmap b;
      assert_int_equal(bitmap_init(&b, BITS), 0);
      bitmap_set_range(&b, first, count);
      uint64_t expected = 0;
      for (unsigned i = 0; i < BITS; i++) {
        bool in = i >= first && i < first + count;
        assert_int_equal(bitmap_test(&b, i), in);
        expected += in;
      }
      assert_int_equal(bitmap_count(&b), expected);
      bitmap_clear_range(&b, first, count);
      assert_int_equal(bitmap_count(&b), 0);
      bitmap_done(&b);
    }
}

static void test_runs(void **state) {
  (void)state;
  struct bitmap b;
  assert_int_equal(bitmap_init(&b, 300), 0);
  uint64_t first = 0, count = 0;
  assert_false(bitmap_next_run(&b, 0, 100, &first, &count));
  bitmap_set_range(&b, 60, 10);
  bitmap_set_range(&b, 299, 1);
  assert_true(bitmap_next_run(&b, 0, 100, &first, &count));
  assert_int_equal(first, 60);
  assert_int_equal(count, 10);
  assert_true(bitmap_next_run(&b, 60, 4, &first, &count));
  assert_int_equal(count, 4);
  assert_true(bitmap_next_run(&b, 64, 100, &first, &count));
  assert_int_equal(first, 64);
  assert_int_equal(count, 6);
  assert_true(bitmap_next_run(&b, 70, 100, &first, &count));
  assert_int_equal(first, 299);
  assert_int_equal(count, 1);
  assert_false(bitmap_next_run(&b, 300, 100, &first, &count));
  bitmap_done(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranges), cmocka_unit_test(test_runs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
