/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra.conf: defaults, what is taken, and what is refused with the file and line named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/coordinator.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/umbra-limits.XXXXXX";

static int make_directory(void **state) {
  (void)state;
  return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state) {
  char path[64];
  (void)state;
  (void)snprintf(path, sizeof path, "%s/umbra.conf", directory);
  (void)unlink(path);
  return rmdir(directory);
}

static int load(const char *text, struct coordinator_limits *ret, struct umbra_error *err) {
  char path[64];
  (void)snprintf(path, sizeof path, "%s/umbra.conf", directory);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
  *err = (struct umbra_error){0};
  return limits_load(directory, ret, err);
}

static void test_defaults(void **state) {
  (void)state;
  struct coordinator_limits l;
  assert_int_equal(limits_load("/nonexistent", &l, NULL), 0);
  assert_int_equal(l.hold_ms, 10000);
  assert_int_equal(l.freeze_ms, 60000);
  assert_int_equal(l.prepare_ms, 600000);
  assert_int_equal(l.queue_ms, 3600000);
}

static void test_taken(void **state) {
  (void)state;
  struct coordinator_limits l;
  struct umbra_error err;
  assert_int_equal(load("# limits\n\n hold_limit_ms = 2500 # short\nfreeze_limit_ms=700", &l, &err), 0);
  assert_int_equal(l.hold_ms, 2500);
  assert_int_equal(l.freeze_ms, 700);
  assert_int_equal(l.prepare_ms, 600000);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } wrong[] = {
      {"hold_limit_ms = 99", "from 100 to 60000"},
      {"hold_limit_ms = 60001", "from 100 to 60000"},
      {"hold_limit_ms = 5s", "number of milliseconds"},
      {"hold_limit_ms =", "number of milliseconds"},
      {"hold_limit_ms = 99999999999999999999", "number of milliseconds"},
      {"\nhold_limit = 5", "line 2"},
      {"hold_limit_ms 5", "is not 'name = value'"},
  };
  struct coordinator_limits l;
  struct umbra_error err;
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_true(load(wrong[i].text, &l, &err) < 0);
    assert_int_equal(err.reason, UMBRA_REASON_INVALID);
    assert_non_null(strstr(err.message, wrong[i].says));
    assert_non_null(strstr(err.message, "umbra.conf"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults), cmocka_unit_test(test_taken),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
