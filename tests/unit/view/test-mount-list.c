/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The list of mounts in order of paths: order, what lies within what, and how mountinfo is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "view/mount-list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void order(void **state) {
  (void)state;
  /* Each before the next. '-' and '!' come before '/' in ASCII and must not come between a directory and what it
   * holds. */
  static const char *const sorted[] = {"/", "/a", "/a/", "/a/b", "/a/b/c", "/a!", "/a-b", "/ab", "/b", "/\xff"};
  size_t count = sizeof sorted / sizeof sorted[0];
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < count; j++) {
      int r = mount_path_compare(sorted[i], sorted[j]);
      assert_int_equal((r > 0) - (r < 0), (i > j) - (i < j));
    }
}

static void within(void **state) {
  (void)state;
  static const struct {
    const char *path, *directory, *below; /* below NULL: not within */
  } cases[] = {
      {"/", "/", ""},          {"/a", "/", "a"},        {"/a/b", "/", "a/b"},    {"/a", "/a", ""},
      {"/a/b/c", "/a", "b/c"}, {"/ab", "/a", NULL},     {"/", "/a", NULL},       {"/a", "/a/b", NULL},
      {"/b", "/a", NULL},      {"/a/b", "/a/bb", NULL}, {"/a b/c", "/a b", "c"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(mount_path_within(cases[i].path, cases[i].directory), cases[i].below != NULL);
    if (cases[i].below)
      assert_string_equal(mount_path_below(cases[i].path, cases[i].directory), cases[i].below);
  }
}

/* Loads text as if it were mountinfo. */
static int load(const char *text, struct mount_list *ret, struct umbra_error *err) {
  char path[] = "/tmp/umbra-unit-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  int r = mount_list_load(path, ret, err);
  unlink(path);
  return r;
}

static void reads_and_sorts(void **state) {
  (void)state;
  struct mount_list m = {0};
  struct umbra_error err = {0};
  assert_int_equal(load("20 1 8:1 / / rw - ext4 /dev/a rw\n"
                        "23 20 0:5 / /a-b rw,noexec,nosymfollow shared:1 - tmpfs none rw\n"
                        "30 21 259:7 /sub\\040dir /a/x\\040y\\134z ro,nosuid - xfs /dev/b rw\n"
                        "21 20 0:6 / /a rw - tmpfs none rw\n"
                        "22 21 0:7 / /a rw - tmpfs none rw\n",
                        &m, &err),
                   0);
  assert_int_equal(m.count, 5);
  static const char *const targets[] = {"/", "/a", "/a", "/a/x y\\z", "/a-b"};
  for (size_t i = 0; i < m.count; i++)
    assert_string_equal(m.entries[i].target, targets[i]);
  assert_int_equal(m.entries[1].id, 21);
  assert_int_equal(m.entries[2].id, 22);
  assert_string_equal(m.entries[3].root, "/sub dir");
  assert_int_equal(m.entries[3].device, makedev(259, 7));
  assert_true(m.entries[4].no_exec && m.entries[4].no_symlinks);
  assert_false(m.entries[3].no_exec || m.entries[3].no_symlinks);
  mount_list_done(&m);
  assert_int_equal(m.count, 0);
}

static void refuses(void **state) {
  (void)state;
  struct mount_list m = {0};
  struct umbra_error err = {0};
  assert_int_equal(mount_list_load("/nonexistent/mountinfo", &m, &err), -ENOENT);
  assert_non_null(strstr(err.message, "/nonexistent/mountinfo"));
  assert_int_equal(load("", &m, &err), 0);
  assert_int_equal(m.count, 0);
  mount_list_done(&m);
}

/* Of this machine: every target comes once and is a mount's root. */
static void keeps_visible(void **state) {
  (void)state;
  struct mount_list m = {0};
  struct umbra_error err = {0};
  assert_int_equal(mount_list_load("/proc/self/mountinfo", &m, &err), 0);
  mount_list_keep_visible(&m);
  assert_true(m.count > 0);
  for (size_t i = 1; i < m.count; i++)
    assert_true(mount_path_compare(m.entries[i - 1].target, m.entries[i].target) < 0);
  mount_list_done(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(order),   cmocka_unit_test(within),        cmocka_unit_test(reads_and_sorts),
      cmocka_unit_test(refuses), cmocka_unit_test(keeps_visible),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
