/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths of any bytes through documents and back, and getters that trust nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void test_paths(void **state) {
  (void)state;
  static const char *const paths[] = {
      "/",
      "/etc/passwd",
      "/with space/and\nnewline\t",
      "/grüße/\xe2\x82\xac",
      "/latin\xe9/\xff\x80",
      "back\\slash",
      "\\x:looks escaped",
      "\\x:\xff",
      "",
      "/\x01\x7f",
  };
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    json_t *json = json_path(paths[i]);
    assert_non_null(json);
    /* Through text, as documents go. */
    char *text = json_dumps(json, JSON_ENCODE_ANY);
    json_decref(json);
    json_t *again = json_loads(text, JSON_DECODE_ANY, NULL);
    free(text);
    assert_non_null(again);
    char *path = NULL;
    assert_int_equal(json_path_value(again, &path), 0);
    assert_string_equal(path, paths[i]);
    free(path);
    json_decref(again);
  }
}

static void test_bad_paths(void **state) {
  (void)state;
  static const char *const texts[] = {
      "5", "null", "\"\\\\x:\\\\0\"", "\"\\\\x:\\\\zz\"", "\"\\\\x:\\\\00\"", "\"a\\u0000b\"", "\"\\\\x:\\\\\""};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    json_t *json = json_loads(texts[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    char *path = NULL;
    assert_int_equal(json_path_value(json, &path), -EBADMSG);
    assert_null(path);
    json_decref(json);
  }
}

static void test_getters(void **state) {
  (void)state;
  struct umbra_error err = {0};
  json_t *object = json_pack("{s:s, s:i, s:b}", "text", "value", "number", 7, "flag", 1);
  const char *text = NULL;
  json_int_t number = 0;
  assert_int_equal(json_get_string(object, "text", &text, &err), 0);
  assert_string_equal(text, "value");
  assert_int_equal(json_get_string(object, "number", &text, &err), -EBADMSG);
  assert_non_null(strstr(err.message, "'number'"));
  assert_int_equal(json_get_string(object, "none", &text, &err), -ENOENT);
  assert_int_equal(json_get_integer(object, "number", &number, &err), 0);
  assert_int_equal(number, 7);
  assert_int_equal(json_get_integer(object, "text", &number, &err), -EBADMSG);
  assert_string_equal(json_get_string_or(object, "none", "x"), "x");
  assert_string_equal(json_get_string_or(NULL, "none", "x"), "x");
  assert_int_equal(json_get_integer_or(json_null(), "none", 3), 3);
  assert_true(json_get_boolean_or(object, "flag", false));
  assert_true(json_get_boolean_or(object, "text", true));
  json_decref(object);
}

static void test_parse_refuses(void **state) {
  (void)state;
  struct umbra_error err = {0};
  json_t *json = NULL;
  static const char *const bad[] = {"", "{", "{} {}", "{\"a\": 1, \"a\": 2}", "\xff"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_equal(json_parse(bad[i], strlen(bad[i]), "the document", &json, &err), -EBADMSG);
    assert_int_equal(err.reason, UMBRA_REASON_DAMAGED);
    assert_non_null(strstr(err.message, "the document"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths), cmocka_unit_test(test_bad_paths),
                                     cmocka_unit_test(test_getters), cmocka_unit_test(test_parse_refuses)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
