/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which paths the files provider takes, and the order of its walk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "providers/files/scope.h"

#include <errno.h>
#include <string.h>

static enum scope_place place(const struct scope *s, const char *path) { return scope_place(s, path, strlen(path)); }

static void test_places(void **state) {
  (void)state;
  const char *paths[] = {"/srv/b/wanted", "/srv/b/wanted/below", "/srv/a/", "/srv/b/wanted-too", NULL};
  struct scope s;
  assert_int_equal(scope_init(&s, (char *const *)paths, "/srv", NULL), 0);
  assert_int_equal(s.count, 3);
  static const struct {
    const char *path;
    enum scope_place expected;
  } cases[] = {
      {"", SCOPE_WAY},
      {"a", SCOPE_INSIDE},
      {"a/x/y", SCOPE_INSIDE},
      {"a.", SCOPE_OUTSIDE},
      {"b", SCOPE_WAY},
      {"b/wanted", SCOPE_INSIDE},
      {"b/wante", SCOPE_OUTSIDE},
      {"b/wanted/q", SCOPE_INSIDE},
      {"b/wanted-", SCOPE_OUTSIDE},
      {"b/wanted-too", SCOPE_INSIDE},
      {"b/wanted!", SCOPE_OUTSIDE},
      {"c", SCOPE_OUTSIDE},
      {"0", SCOPE_OUTSIDE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_int_equal(place(&s, cases[i].path), cases[i].expected);
  scope_done(&s);
}

static void test_whole_volume(void **state) {
  (void)state;
  struct scope s;
  assert_int_equal(scope_init(&s, NULL, "/srv", NULL), 0);
  assert_int_equal(place(&s, ""), SCOPE_INSIDE);
  assert_int_equal(place(&s, "anything"), SCOPE_INSIDE);
  scope_done(&s);
  const char *root[] = {"/srv", NULL}, *of_root[] = {"/etc", NULL}, *elsewhere[] = {"/srvx", NULL}, *none[] = {NULL};
  assert_int_equal(scope_init(&s, (char *const *)root, "/srv", NULL), 0);
  assert_int_equal(place(&s, "anything"), SCOPE_INSIDE);
  scope_done(&s);
  assert_int_equal(scope_init(&s, (char *const *)of_root, "/", NULL), 0);
  assert_int_equal(place(&s, "etc/passwd"), SCOPE_INSIDE);
  assert_int_equal(place(&s, "usr"), SCOPE_OUTSIDE);
  scope_done(&s);
  assert_int_equal(scope_init(&s, (char *const *)elsewhere, "/srv", NULL), -EXDEV);
  assert_int_equal(scope_init(&s, (char *const *)none, "/srv", NULL), 0);
  scope_done(&s);
}

/* A directory comes before what is in it, and all of that before its next sibling. */
static void test_order(void **state) {
  (void)state;
  static const char *const walk[] = {"",    "a",     "a/b", "a/b/c", "a/z",   "a!",
                                     "a-b", "a-b/x", "aa",  "b",     "b\xff", "\xc3"};
  size_t count = sizeof walk / sizeof walk[0];
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < count; k++) {
      int order = path_compare(walk[i], strlen(walk[i]), walk[k], strlen(walk[k]));
      assert_true(i == k ? order == 0 : i < k ? order < 0 : order > 0);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_places),
      cmocka_unit_test(test_whole_volume),
      cmocka_unit_test(test_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
