/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Naming sets and shadow copies, and files of the catalogue that are damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/catalog.h"

#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SET_A "aaaa1111-0000-4000-8000-000000000001"
#define SET_B "aaaa2222-0000-4000-8000-000000000002"
#define SHADOW_A "bbbb1111-0000-4000-8000-000000000003"
#define SHADOW_B "cccc1111-0000-4000-8000-000000000004"

static char directory[] = "/tmp/umbra-catalog.XXXXXX";

static int make_directory(void **state) {
  char path[64];
  (void)state;
  if (!mkdtemp(directory))
    return -1;
  (void)snprintf(path, sizeof path, "%s/sets", directory);
  return mkdir(path, 0700);
}

static int remove_directory(void **state) {
  (void)state;
  char command[96];
  (void)snprintf(command, sizeof command, "rm -r '%s'", directory);
  return system(command);
}

static void put(const char *id, const char *label, const char *created, const char *shadow) {
  json_t *entry = json_pack("{s:{s:s, s:s?, s:s, s:[{s:s}]}, s:{s:{}}}", "set", "id", id, "label", label, "created",
                            created, "shadows", "id", shadow, "records", shadow);
  assert_non_null(entry);
  assert_int_equal(catalog_put(directory, id, entry, NULL), 0);
  json_decref(entry);
}

static void find(const json_t *entries, const char *text, int expected, const char *set, const char *shadow) {
  json_t *entry = NULL;
  const char *found_shadow = "unset";
  struct umbra_error err = {0};
  int r = catalog_find(entries, text, &entry, &found_shadow, &err);
  assert_int_equal(r, expected);
  if (r < 0) {
    assert_non_null(strstr(err.message, text));
    return;
  }
  assert_string_equal(json_get_string_or(json_object_get(entry, "set"), "id", ""), set);
  if (shadow)
    assert_string_equal(found_shadow, shadow);
  else
    assert_null(found_shadow);
}

static void test_find(void **state) {
  (void)state;
  json_t *entries = NULL;
  put(SET_B, NULL, "2026-01-02T00:00:00.000000000Z", SHADOW_B);
  put(SET_A, "nightly", "2026-01-01T00:00:00.000000000Z", SHADOW_A);
  assert_int_equal(catalog_load(directory, &entries, NULL, NULL), 0);
  assert_int_equal(json_array_size(entries), 2);
  /* Oldest first. */
  assert_string_equal(json_get_string_or(json_object_get(json_array_get(entries, 0), "set"), "id", ""), SET_A);
  find(entries, SET_A, 0, SET_A, NULL);
  find(entries, "aaaa2", 0, SET_B, NULL);
  find(entries, "bbbb", 0, SET_A, SHADOW_A);
  find(entries, "nightly", 0, SET_A, NULL);
  find(entries, "aaaa", -EEXIST, NULL, NULL); /* both */
  find(entries, "ccc", -ENOENT, NULL, NULL);  /* too short to name anything */
  find(entries, "", -ENOENT, NULL, NULL);
  find(entries, "night", -ENOENT, NULL, NULL); /* labels in full only */
  json_decref(entries);
}

static void test_damaged_files(void **state) {
  (void)state;
  static const char *const texts[] = {"", "{", "[]", "{\"set\": 5}",
                                      "{\"set\": {\"id\": \"other\"}, \"records\": {}}"};
  char path[128];
  (void)snprintf(path, sizeof path, "%s/sets/dddd1111-0000-4000-8000-00000000000f.json", directory);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    json_t *entries = NULL, *damaged = NULL;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(texts[i], file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(catalog_load(directory, &entries, &damaged, NULL), 0);
    assert_int_equal(json_array_size(damaged), 1);
    assert_int_equal(json_array_size(entries), 2);
    json_decref(entries);
    json_decref(damaged);
  }
  assert_int_equal(unlink(path), 0);
}

static void test_remove(void **state) {
  (void)state;
  json_t *entries = NULL;
  assert_int_equal(catalog_remove(directory, SET_A, NULL), 0);
  assert_int_equal(catalog_remove(directory, SET_A, NULL), 0);
  assert_int_equal(catalog_load(directory, &entries, NULL, NULL), 0);
  assert_int_equal(json_array_size(entries), 1);
  json_decref(entries);
  assert_int_equal(catalog_load("/nonexistent", &entries, NULL, NULL), 0);
  assert_int_equal(json_array_size(entries), 0);
  json_decref(entries);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_find), cmocka_unit_test(test_damaged_files),
                                     cmocka_unit_test(test_remove)};
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
