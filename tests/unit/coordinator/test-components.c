/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a selection of components comes to, what cannot be selected, and the limits. */
#include "coordinator/components.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text) {
  json_t *json = json_loads(text, 0, NULL);
  assert_non_null(json);
  return json;
}

/* {"a": "explicit", …} of writer "w", as text that the caller frees. */
static char *selected(const char *writers_text, char *const *wanted, bool for_restore) {
  CLEANUP_JSON json_t *writers = parse(writers_text), *selection = NULL;
  struct umbra_error err = {0};
  int r = components_select(writers, wanted, for_restore, &selection, &err);
  if (r < 0)
    return strdup(err.message);
  CLEANUP_JSON json_t *names = components_of(selection, "w", NULL);
  return json_dumps(names, JSON_COMPACT | JSON_SORT_KEYS);
}

static void expect(const char *writers, const char *wanted, bool for_restore, const char *result) {
  char *const list[] = {(char *)wanted, NULL};
  CLEANUP_FREE char *got = selected(writers, list, for_restore);
  assert_string_equal(got, result);
}

static const char tree[] = "[{\"name\": \"w\", \"metadata\": {\"components\": ["
                           "{\"name\": \"a\"}, {\"name\": \"b\", \"logical_path\": \"a\", \"selectable\": false}, "
                           "{\"name\": \"a/b/c\", \"selectable_for_restore\": true}, {\"name\": \"ab\"}, "
                           "{\"name\": \"n\", \"selectable\": false}, {\"name\": \"n/m\"}]}}]";

static void test_tree(void **state) {
  (void)state;
  expect(tree, "w:a", false, "{\"a\":\"explicit\",\"a/b\":\"implicit\",\"a/b/c\":\"implicit\",\"n\":\"required\"}");
  expect(tree, "w:a/b/c", false, "{\"a/b/c\":\"explicit\",\"n\":\"required\"}");
  /* What lies below one that is not selectable does not come with it. */
  expect(tree, "w:n", false, "{\"n\":\"explicit\"}");
  expect(tree, "w:n/m", false, "{\"n\":\"required\",\"n/m\":\"explicit\"}");
  expect(tree, "w:a/b", false, "component 'w:a/b' cannot be selected alone: it comes with 'w:a'");
  expect(tree, "w/x:a", false, "there is no component 'w/x:a' (see: umbra list components)");
  expect(tree, NULL, false, "{}");
}

static void test_dependencies(void **state) {
  (void)state;
  /* In a circle, and of another writer; what is not there is named. */
  const char *writers =
      "[{\"name\": \"w\", \"metadata\": {\"components\": ["
      "{\"name\": \"a\", \"dependencies\": [{\"writer\": \"v\", \"component\": \"x\"}, {\"writer\": \"gone\", "
      "\"component\": \"y\"}]}, "
      "{\"name\": \"b\"}]}}, {\"name\": \"v\", \"instance\": \"i\", \"metadata\": {\"components\": ["
      "{\"name\": \"x\", \"dependencies\": [{\"writer\": \"w\", \"component\": \"b\"}, {\"writer\": \"w\", "
      "\"component\": \"a\"}]}]}}]";
  expect(writers, "w:a", false, "{\"a\":\"explicit\",\"b\":\"dependency\"}");
  CLEANUP_JSON json_t *list = parse(writers), *selection = NULL;
  char *const wanted[] = {(char *)"v/i:x", NULL};
  assert_int_equal(components_select(list, wanted, false, &selection, NULL), 0);
  CLEANUP_JSON json_t *names = components_of(selection, "v", "i");
  assert_string_equal(json_get_string_or(names, "x", ""), "explicit");
  const json_t *missing = json_object_get(selection, "missing");
  assert_int_equal(json_array_size(missing), 1);
  assert_string_equal(json_string_value(json_array_get(missing, 0)), "gone:y");
}

static void test_restore(void **state) {
  (void)state;
  const char *saved = "[{\"name\": \"w\", \"selected\": {\"a\": \"explicit\", \"a/b\": \"implicit\", \"a/c\": "
                      "\"implicit\"}, \"metadata\": {\"components\": ["
                      "{\"name\": \"a\"}, {\"name\": \"a/b\"}, {\"name\": \"a/c\", \"selectable\": false, "
                      "\"selectable_for_restore\": true}, "
                      "{\"name\": \"left-out\"}]}}]";
  expect(saved, "w:a", true, "{\"a\":\"explicit\",\"a/b\":\"implicit\",\"a/c\":\"implicit\"}");
  expect(saved, "w:a/c", true, "{\"a/c\":\"explicit\"}");
  expect(saved, "w:a/b", true, "component 'w:a/b' cannot be selected alone: it comes with 'w:a'");
  expect(saved, "w:left-out", true, "there is no component 'w:left-out' (see: umbra list components)");
  /* Of a writer that was not selected from, all. */
  expect(tree, "w:ab", true, "{\"ab\":\"explicit\"}");
}

static void test_failure_is_said(void **state) {
  (void)state;
  expect("[{\"name\": \"w\", \"failure\": \"its server is down\"}]", "w:a", false,
         "there is no component 'w:a': its server is down (see: umbra list components)");
}

static const char *wrong(const char *text) {
  CLEANUP_JSON json_t *components = parse(text);
  return components_wrong(components);
}

static void test_wrong(void **state) {
  (void)state;
  assert_null(wrong("[{\"name\": \"a\", \"logical_path\": \"x/y\", \"files\": [{\"path\": \"/a\"}]}]"));
  assert_non_null(wrong("{}"));
  assert_non_null(wrong("[{}]"));
  assert_non_null(wrong("[{\"name\": \"a\", \"logical_path\": \"/x\"}]"));
  assert_non_null(wrong("[{\"name\": \"a\", \"logical_path\": \"x//y\"}]"));
  assert_non_null(wrong("[{\"name\": \"a\", \"files\": 1}]"));
  assert_non_null(wrong("[{\"name\": \"a\", \"shadow_excludes\": [{\"path\": \"relative\"}]}]"));
}

static void test_limits(void **state) {
  (void)state;
  char name[COMPONENT_NAME_BYTES_MAX + 1];
  memset(name, 'x', sizeof name);
  name[COMPONENT_NAME_BYTES_MAX - 2] = 0;
  CLEANUP_JSON json_t *one = json_pack("[{s:s}]", "name", name);
  assert_null(components_wrong(one));
  name[COMPONENT_NAME_BYTES_MAX - 2] = 'x';
  name[COMPONENT_NAME_BYTES_MAX - 1] = 0;
  CLEANUP_JSON json_t *longer = json_pack("[{s:s}]", "name", name), *many = json_array();
  assert_non_null(components_wrong(longer));
  for (int i = 0; i < COMPONENTS_MAX; i++)
    assert_int_equal(json_array_append_new(many, json_pack("{s:s}", "name", "a")), 0);
  assert_null(components_wrong(many));
  assert_int_equal(json_array_append_new(many, json_pack("{s:s}", "name", "a")), 0);
  assert_non_null(components_wrong(many));

  CLEANUP_FREE char **wanted = calloc(SELECTIONS_MAX + 2, sizeof *wanted);
  for (int i = 0; i < SELECTIONS_MAX + 1; i++)
    wanted[i] = (char *)"w:ab";
  CLEANUP_JSON json_t *writers = parse(tree), *selection = NULL;
  assert_int_equal(components_select(writers, wanted, false, &selection, NULL), -E2BIG);
  wanted[SELECTIONS_MAX] = NULL;
  assert_int_equal(components_select(writers, wanted, false, &selection, NULL), 0);
}

/* A thousand instances with ten each: each looks at its own. */
static void test_many(void **state) {
  (void)state;
  CLEANUP_JSON json_t *writers = json_array(), *selection = NULL;
  for (int i = 0; i < 1000; i++) {
    json_t *components = json_array();
    for (int k = 0; k < 10; k++)
      assert_int_equal(
          json_array_append_new(components, json_pack("{s:o, s:b}", "name", json_sprintf("%s%d", k ? "c/" : "c", k),
                                                      "selectable", k == 0)),
          0);
    (void)json_object_set_new(json_array_get(components, 0), "name", json_string("c"));
    assert_int_equal(
        json_array_append_new(writers, json_pack("{s:s, s:o, s:{s:o}}", "name", "w", "instance",
                                                 json_sprintf("%d", i), "metadata", "components", components)),
        0);
  }
  char *const wanted[] = {(char *)"w/999:c", NULL};
  assert_int_equal(components_select(writers, wanted, false, &selection, NULL), 0);
  CLEANUP_JSON json_t *last = components_of(selection, "w", "999"), *other = components_of(selection, "w", "998");
  assert_int_equal(json_object_size(last), 10);
  assert_int_equal(json_object_size(other), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tree),    cmocka_unit_test(test_dependencies),
      cmocka_unit_test(test_restore), cmocka_unit_test(test_failure_is_said),
      cmocka_unit_test(test_wrong),   cmocka_unit_test(test_limits),
      cmocka_unit_test(test_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
