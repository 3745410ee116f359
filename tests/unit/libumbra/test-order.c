/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls in the wrong order and with what makes no sense (scenario 13 of the answered system): each is refused with
 * its reason, none crashes, and the handle goes on working.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "umbra/umbra.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
  char directory[64];
  struct umbra_client *client;
  struct umbra_set *set;
};

static int set_up(void **state) {
  static const char *const names[] = {"state-dir", "runtime-dir", "config-dir"};
  struct fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  (void)snprintf(f->directory, sizeof f->directory, "%s", "/tmp/umbra-test-order.XXXXXX");
  assert_non_null(mkdtemp(f->directory));
  assert_int_equal(umbra_client_new(&f->client), 0);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", f->directory, names[i]);
    assert_int_equal(umbra_client_set_directory(f->client, names[i], path), 0);
  }
  assert_int_equal(umbra_set_new(f->client, &f->set), 0);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  char command[128];
  umbra_set_free(f->set);
  umbra_client_free(f->client);
  (void)snprintf(command, sizeof command, "rm -rf '%s'", f->directory);
  assert_int_equal(system(command), 0);
  free(f);
  return 0;
}

static void assert_refused(struct fixture *f, int result, int reason) {
  assert_true(result < 0);
  assert_int_equal(umbra_client_reason(f->client), reason);
  assert_true(strlen(umbra_client_message(f->client)) > 0);
}

static void before_it_is_made(void **state) {
  struct fixture *f = *state;
  char program[] = "true";
  char *const arguments[] = {program, NULL};
  assert_refused(f, umbra_set_open_shadow(f->set, 0), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_run(f->set, arguments, NULL), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_complete(f->set, 1), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_component_succeeded(f->set, "w:c", 1), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_result(f->set), UMBRA_REASON_BAD_STATE);
  assert_int_equal(umbra_set_shadow_count(f->set), 0);
  assert_int_equal(umbra_set_degraded(f->set), 0);
}

static void with_what_makes_no_sense(void **state) {
  struct fixture *f = *state;
  assert_refused(f, umbra_set_add_path(f->set, "/no/such/path"), UMBRA_REASON_NOT_FOUND);
  assert_refused(f, umbra_set_option(f->set, "no-such-option", "yes"), UMBRA_REASON_INVALID);
  assert_refused(f, umbra_set_option(f->set, "require", "everything"), UMBRA_REASON_INVALID);
  assert_refused(f, umbra_set_option(f->set, "storage-max", "-1"), UMBRA_REASON_INVALID);
  assert_refused(f, umbra_set_option(f->set, "storage-max", "99999999999999999999T"), UMBRA_REASON_INVALID);
  char *json = NULL;
  assert_true(umbra_show(f->client, "00000000-0000-4000-8000-000000000000", &json) < 0);
  assert_null(json);
  assert_true(umbra_list(f->client, "everything", &json) < 0);
  assert_null(json);
  /* And it still takes what does. */
  assert_int_equal(umbra_set_option(f->set, "storage-max", "10M"), 0);
  assert_int_equal(umbra_set_add_path(f->set, "/proc"), 0);
}

static void after_it_has_failed(void **state) {
  struct fixture *f = *state;
  if (geteuid() != 0)
    skip();
  assert_int_equal(umbra_set_option(f->set, "writers", "no"), 0);
  assert_int_equal(umbra_set_add_path(f->set, "/proc"), 0);
  assert_true(umbra_set_create(f->set) < 0);
  assert_refused(f, umbra_set_create(f->set), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_add_path(f->set, "/"), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_option(f->set, "label", "late"), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_complete(f->set, 1), UMBRA_REASON_BAD_STATE);
  assert_refused(f, umbra_set_open_shadow(f->set, 0), UMBRA_REASON_BAD_STATE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(before_it_is_made, set_up, tear_down),
      cmocka_unit_test_setup_teardown(with_what_makes_no_sense, set_up, tear_down),
      cmocka_unit_test_setup_teardown(after_it_has_failed, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
