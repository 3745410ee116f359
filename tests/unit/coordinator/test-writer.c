/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a writer's identify may print, and what is made of what it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/writer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/umbra-writer.XXXXXX";

static void path_of(char path[128], const char *name) { (void)snprintf(path, 128, "%s/%s", directory, name); }

static void put(const char *name, mode_t mode) {
  char path[128];
  path_of(path, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
  assert_true(fd >= 0);
  assert_int_equal(fchmod(fd, mode), 0);
  assert_int_equal(close(fd), 0);
}

static int make_directory(void **state) {
  char path[128];
  (void)state;
  if (!mkdtemp(directory))
    return -1;
  path_of(path, "writers.d");
  return mkdir(path, 0755);
}

static int remove_directory(void **state) {
  (void)state;
  char command[160];
  (void)snprintf(command, sizeof command, "rm -r '%s'", directory);
  return system(command);
}

static struct writer *one(struct writer ***list, size_t *count) {
  put("writers.d/w", 0755);
  assert_int_equal(writers_find("/nonexistent", directory, list, count, NULL), 0);
  assert_int_equal(*count, 1);
  return (*list)[0];
}

static void test_good_document(void **state) {
  (void)state;
  struct writer **list;
  size_t count;
  struct writer *w = one(&list, &count);
  static const char text[] = "{\"name\": \"postgresql\", \"instance\": \"15/main\", \"level\": \"back-end\","
                             "\"components\": [{\"name\": \"db\", \"files\": [{\"path\": \"/var/lib\"}]}],"
                             "\"timeouts\": {\"freeze_ms\": 5000}}";
  writer_identified(w, text, sizeof text - 1);
  assert_false(writer_failed(w));
  assert_string_equal(w->name, "postgresql");
  assert_string_equal(w->instance, "15/main");
  assert_int_equal(w->level, WRITER_BACK_END);
  assert_int_equal(w->freeze_limit_ms, 5000);
  writers_free(list, count);
}

/* An array: each is a writer, and a wrong one fails alone. */
static void test_instances(void **state) {
  (void)state;
  struct writer **list;
  size_t count;
  struct writer *w = one(&list, &count);
  static const char text[] =
      "[{\"name\": \"w\", \"instance\": \"a\", \"session\": true}, {\"name\": \"w\", \"instance\": \"b\","
      " \"failure\": \"gone\"}, 7]";
  writer_identified(w, text, sizeof text - 1);
  assert_int_equal(writers_spread(&list, &count, NULL), 0);
  assert_int_equal(count, 3);
  assert_false(writer_failed(list[0]));
  assert_int_equal(list[0]->kind, WRITER_SESSION);
  assert_string_equal(list[0]->instance, "a");
  assert_string_equal(list[1]->failure, "gone");
  assert_true(writer_failed(list[2]));
  writers_free(list, count);

  w = one(&list, &count);
  writer_identified(w, "[]", 2);
  assert_false(writer_failed(w));
  assert_int_equal(writers_spread(&list, &count, NULL), 0);
  assert_int_equal(count, 0);
  writers_free(list, count);

  /* One more than there may be. */
  w = one(&list, &count);
  json_t *many = json_array();
  for (int i = 0; i <= WRITERS_MAX; i++)
    (void)json_array_append_new(many, json_pack("{s:s}", "name", "w"));
  char *dumped = json_dumps(many, JSON_COMPACT);
  writer_identified(w, dumped, strlen(dumped));
  assert_true(writer_failed(w));
  assert_int_equal(w->reason, UMBRA_REASON_LIMIT);
  free(dumped);
  json_decref(many);
  writers_free(list, count);
}

static void test_bad_documents(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      "nonsense",
      "7",
      "{}",
      "\"name\"",
      "{\"name\": 5}",
      "{\"name\": \"\"}",
      "{\"name\": \"a b\"}",
      "{\"name\": \"../x y\"}",
      "{\"name\": \"a\", \"level\": \"top\"}",
      "{\"name\": \"a\", \"components\": {}}",
      "{\"name\": \"a\", \"components\": [{\"files\": []}]}",
      "{\"name\": \"a\", \"components\": [{\"name\": \"c\", \"files\": [{\"path\": \"relative\"}]}]}",
      "{\"name\": \"a\", \"components\": [{\"name\": \"c\", \"files\": [7]}]}",
      "{\"name\": \"a\"} trailing",
      "{\"name\": \"a\", \"name\": \"b\"}",
      "{\"name\": \"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct writer **list;
    size_t count;
    struct writer *w = one(&list, &count);
    writer_identified(w, bad[i], strlen(bad[i]));
    assert_true(writer_failed(w));
    assert_string_equal(w->state, "failed-at-identify");
    assert_string_equal(w->name, "w");
    assert_true(w->failure[0] != 0);
    writers_free(list, count);
  }
}

/* A limit that is not understood is not taken for none: the file and the key are named. */
static void test_timeouts_of_wrong_types(void **state) {
  (void)state;
  static const struct {
    const char *timeouts, *said;
  } bad[] = {
      {"\"5000\"", "'timeouts' is not an object"},
      {"[1]", "'timeouts' is not an object"},
      {"null", "'timeouts' is not an object"},
      {"{\"freeze_ms\": \"5000\"}", "'timeouts.freeze_ms' is not a whole number of milliseconds"},
      {"{\"freeze_ms\": 5000.5}", "'timeouts.freeze_ms' is not a whole number of milliseconds"},
      {"{\"freeze_ms\": 1, \"prepare_ms\": null}", "'timeouts.prepare_ms' is not a whole number of milliseconds"},
      {"{\"prepare_ms\": true}", "'timeouts.prepare_ms' is not a whole number of milliseconds"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct writer **list;
    size_t count;
    char text[128];
    struct writer *w = one(&list, &count);
    (void)snprintf(text, sizeof text, "{\"name\": \"a\", \"timeouts\": %s}", bad[i].timeouts);
    writer_identified(w, text, strlen(text));
    assert_string_equal(w->state, "failed-at-identify");
    assert_non_null(strstr(w->failure, bad[i].said));
    assert_non_null(strstr(w->failure, "writers.d/w'"));
    writers_free(list, count);
  }
}

static void test_the_first_failure_counts(void **state) {
  (void)state;
  struct writer **list;
  size_t count;
  struct writer *w = one(&list, &count);
  writer_fail(w, WRITER_FREEZE, UMBRA_REASON_WRITER_TIMEOUT, "too\nlate");
  writer_fail(w, WRITER_ABORT, UMBRA_REASON_WRITER, "and again");
  assert_string_equal(w->state, "failed-at-freeze");
  assert_string_equal(w->failure, "too late");
  assert_int_equal(w->reason, UMBRA_REASON_WRITER_TIMEOUT);
  writers_free(list, count);
}

static void test_refused_and_ignored(void **state) {
  (void)state;
  struct writer **list;
  size_t count;
  char path[128];
  put("writers.d/w", 0775);
  put("writers.d/.hidden", 0755);
  put("writers.d/w~", 0755);
  put("writers.d/w.dpkg-old", 0755);
  put("writers.d/readme", 0644);
  assert_int_equal(writers_find("/nonexistent", directory, &list, &count, NULL), 0);
  assert_int_equal(count, 1);
  assert_true(writer_failed(list[0]));
  assert_int_equal(list[0]->reason, UMBRA_REASON_ACCESS);
  assert_non_null(strstr(list[0]->failure, "writers.d/w"));
  writers_free(list, count);
  /* A directory that others can write to is as good as a file that they can. */
  put("writers.d/w", 0755);
  path_of(path, "writers.d");
  assert_int_equal(chmod(path, 0777), 0);
  assert_int_equal(writers_find("/nonexistent", directory, &list, &count, NULL), 0);
  assert_true(writer_failed(list[0]));
  writers_free(list, count);
  assert_int_equal(chmod(path, 0755), 0);
}

/* Those that came with umbra: as far as nothing in the configuration has their name, not even a link to /dev/null. */
static void test_in_box_writers(void **state) {
  (void)state;
  struct writer **list;
  size_t count;
  char path[128];
  path_of(path, "writers");
  assert_int_equal(mkdir(path, 0755), 0);
  put("writers/mine", 0755);
  put("writers/masked", 0755);
  put("writers/w", 0755);
  path_of(path, "writers.d/masked");
  assert_int_equal(symlink("/dev/null", path), 0);
  assert_int_equal(writers_find(directory, directory, &list, &count, NULL), 0);
  assert_int_equal(count, 2);
  assert_non_null(strstr(list[0]->path, "/writers/mine"));
  assert_non_null(strstr(list[1]->path, "/writers.d/w"));
  writers_free(list, count);
  assert_int_equal(unlink(path), 0);
}

static void test_no_directory_is_no_writer(void **state) {
  (void)state;
  struct writer **list;
  size_t count = 7;
  assert_int_equal(writers_find("/nonexistent", "/nonexistent", &list, &count, NULL), 0);
  assert_int_equal(count, 0);
  writers_free(list, count);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good_document),
      cmocka_unit_test(test_instances),
      cmocka_unit_test(test_bad_documents),
      cmocka_unit_test(test_timeouts_of_wrong_types),
      cmocka_unit_test(test_the_first_failure_counts),
      cmocka_unit_test(test_refused_and_ignored),
      cmocka_unit_test(test_no_directory_is_no_writer),
      cmocka_unit_test(test_in_box_writers),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
