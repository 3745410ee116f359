/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors, clock texts, ids, lists, whole files, trees and processes: the leaf code that everything trusts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/memory-lock.h"
#include "common/process.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_error(void **state) {
  (void)state;
  struct umbra_error err = {0};
  errno = ENOSPC;
  assert_int_equal(error_errno(&err, "writing '%s'", "x"), -ENOSPC);
  assert_string_equal(err.message, "writing 'x': No space left on device");
  assert_int_equal(err.reason, UMBRA_REASON_STORAGE);
  assert_int_equal(error_prefix(&err, -ENOSPC, "volume '%s'", "/srv"), -ENOSPC);
  assert_string_equal(err.message, "volume '/srv': writing 'x': No space left on device");
  error_clear(&err);
  assert_int_equal(error_prefix(&err, -EIO, "copying"), -EIO);
  assert_string_equal(err.message, "copying: Input/output error");
  /* Longer than there is room for: cut, never overrun. */
  for (int i = 0; i < 200; i++)
    (void)error_prefix(&err, -EIO, "%s", "a prefix of some length, again and again");
  assert_true(strlen(err.message) < sizeof err.message);
  assert_int_equal(error_set(NULL, -EIO, UMBRA_REASON_INTERNAL, "nobody listens"), -EIO);
  assert_string_equal(error_reason_name(UMBRA_REASON_WRITER_TIMEOUT), "writer-timeout");
  assert_string_equal(error_reason_name((enum umbra_reason)9999), "unknown");
}

static void test_clock(void **state) {
  (void)state;
  char text[CLOCK_TEXT_BYTES];
  int64_t ns = 0;
  assert_string_equal(clock_format(INT64_C(1795341600123456789), text), "2026-11-22T10:00:00.123456789Z");
  assert_int_equal(clock_parse(text, &ns), 0);
  assert_int_equal(ns, INT64_C(1795341600123456789));
  assert_string_equal(clock_format(-1, text), "1969-12-31T23:59:59.999999999Z");
  assert_int_equal(clock_parse("2026-11-22T10:00:00Z", &ns), -EINVAL);
  assert_int_equal(clock_parse("2026-11-22T10:00:00.1Z", &ns), -EINVAL);
  assert_int_equal(clock_parse("yesterday", &ns), -EINVAL);
}

static void test_id(void **state) {
  (void)state;
  char a[ID_TEXT_BYTES], b[ID_TEXT_BYTES], prefix[5] = "";
  id_new(a);
  id_new(b);
  assert_true(id_valid(a));
  assert_string_not_equal(a, b);
  assert_false(id_valid("../../etc/passwd"));
  memcpy(prefix, a, 4);
  assert_true(id_matches(a, prefix));
  prefix[3] = 0;
  assert_false(id_matches(a, prefix));
}

static void test_strv(void **state) {
  (void)state;
  CLEANUP_STRV char **list = NULL;
  for (int i = 0; i < 100; i++) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", i);
    assert_int_equal(strv_append(&list, text), 0);
    assert_int_equal(strv_count(list), i + 1);
    assert_true(strv_contains(list, text));
  }
  assert_string_equal(list[63], "63");
  assert_false(strv_contains(list, "100"));
  assert_false(strv_contains(NULL, "x"));
}

static void test_files(void **state) {
  (void)state;
  char directory[] = "/tmp/umbra-basics.XXXXXX", path[64];
  assert_non_null(mkdtemp(directory));
  CLEANUP_CLOSE int fd = fd_open_directory(directory);
  assert_int_equal(fd_replace_file(fd, "f", "old", 3, 0600, true), 0);
  assert_int_equal(fd_replace_file(fd, "f", "newer", 5, 0600, false), 0);
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  assert_int_equal(fd_read_file(fd, "f", 5, &text, &length), 0);
  assert_string_equal(text, "newer");
  CLEANUP_FREE char *more = NULL;
  assert_int_equal(fd_read_file(fd, "f", 4, &more, NULL), -EFBIG);
  (void)snprintf(path, sizeof path, "%s/a/b/c", directory);
  assert_int_equal(fd_make_directories(path, 0700), 0);
  assert_int_equal(fd_make_directories(path, 0700), 0);
  /* A link out of the tree goes, what it points at stays. */
  assert_int_equal(symlinkat("/etc", fd, "a/link"), 0);
  assert_int_equal(fd_remove_tree(fd, "a"), 0);
  assert_int_equal(faccessat(fd, "a", F_OK, 0), -1);
  assert_int_equal(access("/etc/passwd", F_OK), 0);
  assert_int_equal(fd_remove_tree(fd, "a"), 0);
  assert_int_equal(fd_remove_tree(fd, "f"), 0);
  assert_int_equal(rmdir(directory), 0);
}

static void test_process(void **state) {
  (void)state;
  char shell[] = "sh", option[] = "-c", sleeps[] = "sleep 1000 & wait", exits[] = "exit 7";
  char *sleeper[] = {shell, option, sleeps, NULL}, *seven[] = {shell, option, exits, NULL};
  struct process_options options = {
      .path = "/bin/sh", .arguments = seven, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .own_group = true};
  struct process p;
  assert_int_equal(process_start(&options, &p, NULL), 0);
  int status = process_wait(&p, 10000);
  assert_true(status >= 0 && WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 7);
  process_end(&p, true); /* nothing left, fine */

  options.arguments = sleeper;
  assert_int_equal(process_start(&options, &p, NULL), 0);
  uint64_t ticks = 0;
  pid_t pid = p.pid;
  assert_int_equal(process_start_ticks(pid, &ticks), 0);
  assert_true(process_alive(pid, ticks));
  assert_false(process_alive(pid, ticks + 1));
  assert_int_equal(process_wait(&p, 0), -ETIMEDOUT);
  process_end(&p, true);
  assert_false(process_alive(pid, ticks));

  struct umbra_error err = {0};
  options.path = "/nonexistent/program";
  assert_int_equal(process_start(&options, &p, &err), -ENOENT);
  assert_non_null(strstr(err.message, "/nonexistent/program"));
}

/* Without standard streams: what is opened gets none of their numbers, they cannot be used, and exec closes them. */
static void test_occupy_standard(void **state) {
  (void)state;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    for (int fd = 0; fd <= 2; fd++)
      (void)close(fd);
    char byte;
    bool right = fd_occupy_standard() == 0 && open("/dev/null", O_RDWR) > 2;
    right = right && read(0, &byte, 1) < 0 && errno == EBADF && write(1, "x", 1) < 0 && errno == EBADF;
    right = right && write(2, "x", 1) < 0 && errno == EBADF;
    for (int fd = 0; fd <= 2; fd++)
      right = right && (fcntl(fd, F_GETFD) & FD_CLOEXEC);
    _exit(right ? 0 : 1);
  }
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  /* Those that are open stay what they are. */
  struct stat before, after;
  assert_int_equal(fstat(1, &before), 0);
  assert_int_equal(fd_occupy_standard(), 0);
  assert_int_equal(fstat(1, &after), 0);
  assert_true(before.st_ino == after.st_ino && before.st_dev == after.st_dev);
}

/* In a thread that has used nothing of its stack yet. */
static void *touch(void *context) {
  enum { PAGE = 4096 };
  unsigned char here = 0;
  uintptr_t top = (uintptr_t)&here & ~(uintptr_t)(PAGE - 1);
  memory_touch_stack();
  bool *there = context;
  *there = true;
  for (size_t below = PAGE; below < MEMORY_STACK_BYTES; below += PAGE)
    *there = *there && mincore((void *)(top - below), PAGE, &here) == 0 && (here & 1); /* NOLINT */
  return NULL;
}

static void test_touched_stack_is_there(void **state) {
  (void)state;
  pthread_t thread;
  bool there = false;
  assert_int_equal(pthread_create(&thread, NULL, touch, &there), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_true(there);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_error),
                                     cmocka_unit_test(test_clock),
                                     cmocka_unit_test(test_id),
                                     cmocka_unit_test(test_strv),
                                     cmocka_unit_test(test_files),
                                     cmocka_unit_test(test_process),
                                     cmocka_unit_test(test_occupy_standard),
                                     cmocka_unit_test(test_touched_stack_is_there)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
