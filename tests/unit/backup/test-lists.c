/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths, patterns, and the lists that do not fit into memory: listings, hard links, spools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backup/excludes.h"
#include "backup/link-table.h"
#include "backup/listing.h"
#include "backup/spool.h"
#include "backup/tree-path.h"
#include "common/cleanup.h"
#include "common/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void test_paths(void **state) {
  static const char *const ordered[] = {"", "a", "a/b", "a/b/c", "a/c", "a\x01", "a-b", "a.b", "a0", "b", "\xff"};
  (void)state;
  enum { COUNT = sizeof ordered / sizeof *ordered };
  for (int i = 0; i < COUNT; i++)
    for (int k = 0; k < COUNT; k++) {
      int r = tree_path_compare(ordered[i], ordered[k]);
      assert_true(i < k ? r < 0 : i > k ? r > 0 : r == 0);
    }
  assert_true(tree_path_within("a/b", "a"));
  assert_true(tree_path_within("a", ""));
  assert_false(tree_path_within("ab", "a"));
  char name[300];
  memset(name, 'n', sizeof name);
  assert_true(tree_path_valid(name, 255));
  assert_false(tree_path_valid(name, 256));
  assert_false(tree_path_valid("a\0b", 3));
  assert_true(tree_path_valid("...", 3));
  assert_false(tree_name_valid("a/b"));
  assert_false(tree_name_valid(""));
}

static void test_excludes(void **state) {
  (void)state;
  struct excludes *e = excludes_new();
  assert_int_equal(excludes_add_pattern(e, "*.o"), 0);
  assert_int_equal(excludes_add_pattern(e, "/var/*/cache/"), 0);
  assert_int_equal(excludes_add_pattern(e, "build/out?"), 0);
  assert_int_equal(excludes_add_path(e, "srv/[x]"), 0);
  assert_int_equal(excludes_add_file_set(e, "/db/data/", "*.tmp", false), 0);
  assert_int_equal(excludes_add_file_set(e, "/db/log", "*", true), 0);
  static const char *const out[] = {"a/b.o",   "b.o",           "var/lib/cache", "x/build/out1", "build/out2",
                                    "srv/[x]", "db/data/a.tmp", "db/log/a",      "db/log/b/c"};
  static const char *const in[] = {"a/b.c",        "var/lib/a/cache", "var/cache", "x/rebuild/out1",
                                   "build/x/out1", "srv/x",           "db/data",   "db/data/sub/a.tmp",
                                   "db/log",       "db/logs/a",       ""};
  for (size_t i = 0; i < sizeof out / sizeof *out; i++)
    if (!excludes_match(e, out[i]))
      fail_msg("'%s' is not excluded", out[i]);
  for (size_t i = 0; i < sizeof in / sizeof *in; i++)
    if (excludes_match(e, in[i]))
      fail_msg("'%s' is excluded", in[i]);
  excludes_free(e);
}

/* Records of all sizes, more than buffers hold, both ways. */
static void test_spool(void **state) {
  (void)state;
  enum { RECORDS = 500 };
  struct spool s;
  struct spool_cursor c;
  static char data[70000];
  assert_int_equal(spool_init(&s, -1, NULL), 0);
  for (int i = 0; i < RECORDS; i++) {
    memset(data, i, sizeof data);
    assert_int_equal(spool_append(&s, data, (size_t)(i * 137 % 70000), NULL), 0);
  }
  assert_int_equal(spool_cursor_init(&c, &s, 4096, NULL), 0);
  for (int i = 0; i < RECORDS; i++) {
    assert_int_equal(spool_next(&c, NULL), 1);
    assert_int_equal(c.record_bytes, (size_t)(i * 137 % 70000));
    if (c.record_bytes > 0)
      assert_int_equal((unsigned char)c.record[c.record_bytes - 1], i & 255);
  }
  assert_int_equal(spool_next(&c, NULL), 0);
  for (int i = RECORDS - 1; i >= 0; i--) {
    assert_int_equal(spool_previous(&c, NULL), 1);
    assert_int_equal(c.record_bytes, (size_t)(i * 137 % 70000));
    if (c.record_bytes > 0)
      assert_int_equal((unsigned char)c.record[0], i & 255);
  }
  assert_int_equal(spool_previous(&c, NULL), 0);
  spool_cursor_done(&c);
  spool_done(&s);
}

static void test_links(void **state) {
  (void)state;
  enum { INODES = 20000 }; /* the table grows three times */
  struct link_table *t = NULL;
  const char *path = NULL;
  char text[32];
  assert_int_equal(link_table_new(-1, &t, NULL), 0);
  for (unsigned i = 0; i < INODES; i++) {
    (void)snprintf(text, sizeof text, "path/%u", i);
    assert_int_equal(link_table_add(t, i % 3, i, text, &path, NULL), 0);
  }
  for (unsigned i = 0; i < INODES; i++) {
    (void)snprintf(text, sizeof text, "path/%u", i);
    assert_int_equal(link_table_add(t, i % 3, i, "other", &path, NULL), 1);
    assert_string_equal(path, text);
  }
  assert_int_equal(link_table_add(t, 4, 0, "other", &path, NULL), 0);
  link_table_free(t);
}

/* With an account that is full already every piece of the directory goes to its own run. */
static void test_listing(void **state) {
  (void)state;
  enum { FILES = 9000 };
  char directory[] = "/tmp/umbra-test-listing-XXXXXX", name[64], last[256];
  assert_non_null(mkdtemp(directory));
  int fd = fd_open_directory(directory);
  for (int i = 0; i < FILES; i++) {
    (void)snprintf(name, sizeof name, "%d-some-longer-name-%d", i * 7919 % FILES, i);
    int file = openat(fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    (void)close(file);
  }
  for (int full = 0; full < 2; full++) {
    size_t used_bytes = full ? LISTING_BYTES_MAX + 1U : 0, before_bytes = used_bytes;
    struct listing *l = NULL;
    const char *next = NULL;
    int count = 0;
    last[0] = '\0';
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(listing_read(fd, &used_bytes, -1, &l, NULL), 0);
    while (listing_next(l, &next, NULL) == 1) {
      assert_true(strcmp(last, next) < 0);
      (void)strcpy(last, next);
      count++;
    }
    assert_int_equal(count, FILES);
    listing_free(l);
    assert_int_equal(used_bytes, before_bytes);
  }
  (void)close(fd);
  (void)fd_remove_tree(AT_FDCWD, directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths), cmocka_unit_test(test_excludes),
                                     cmocka_unit_test(test_spool), cmocka_unit_test(test_links),
                                     cmocka_unit_test(test_listing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
