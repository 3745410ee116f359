/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of the files provider: what is written is read back in order, and nothing damaged is taken for a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/fd.h"
#include "providers/files/scope.h"
#include "providers/files/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct table_identity mine = {1, 2};

enum { DIRECTORIES = 40, ENTRIES = 700 /* several blocks */ };

static void name_directory(unsigned i, char name[32]) {
  name[0] = 0; /* the root has none */
  if (i > 0)
    (void)snprintf(name, 32, "d%03u", i);
}

static int make_table(void) {
  int fd = memfd_create("table", MFD_CLOEXEC);
  struct table_writer w;
  assert_int_equal(table_writer_init(&w, fd), 0);
  for (unsigned i = 0; i < DIRECTORIES; i++) {
    char path[32], name[260];
    name_directory(i, path);
    struct table_block_head head = {.inode = 1000 + i, .ctime_ns = i, .mtime_ns = -(int64_t)i};
    assert_int_equal(table_writer_begin(&w, &head, path, strlen(path)), 0);
    for (unsigned k = 0; k < (i % 3 == 2 ? 0 : ENTRIES); k++) {
      (void)snprintf(name, sizeof name, "%05u%0*d", k, (int)(k % 200), 0);
      struct table_entry_head e = {.inode = k, .size_bytes = i, .name_bytes = (uint8_t)strlen(name), .flags = 8};
      assert_int_equal(table_writer_add(&w, &e, name), 0);
    }
    assert_int_equal(table_writer_end(&w), 0);
  }
  assert_int_equal(table_writer_flush(&w), 0);
  assert_int_equal(w.totals.directories, DIRECTORIES);
  assert_int_equal(table_seal(fd, &mine, &w.totals), 0);
  table_writer_done(&w);
  return fd;
}

static void test_read_back(void **state) {
  (void)state;
  int fd = make_table();
  struct table_totals totals;
  assert_int_equal(table_check(fd, &mine, &totals, NULL), 0);
  struct table_reader r;
  assert_int_equal(table_reader_init(&r, fd), 0);
  /* Every fourth directory is passed over, one that is not there is asked for. */
  for (unsigned i = 0; i < DIRECTORIES; i++) {
    char path[32];
    struct table_entry e;
    name_directory(i, path);
    if (i % 4 == 3)
      continue;
    assert_int_equal(table_reader_seek(&r, path, strlen(path)), 1);
    assert_int_equal(table_block_head(r.block)->inode, 1000 + i);
    unsigned k = 0;
    for (; table_reader_next(&r, &e) == 1; k++) {
      assert_int_equal(e.head.inode, k);
      assert_int_equal(e.head.size_bytes, i);
      char number[6] = "";
      memcpy(number, e.name, 5);
      assert_int_equal(atoi(number), k);
    }
    assert_int_equal(k, i % 3 == 2 ? 0 : ENTRIES);
    if (i == 0)
      continue; /* what sorts behind the root's name sorts behind everything */
    (void)strcat(path, "~");
    assert_int_equal(table_reader_seek(&r, path, strlen(path)), 0);
  }
  assert_int_equal(table_reader_seek(&r, "zzz", 3), 0);
  table_reader_done(&r);
  (void)close(fd);
}

/* A flipped bit anywhere, any length cut off, or somebody else's: refused. */
static void test_damage(void **state) {
  (void)state;
  int fd = make_table();
  off_t length = lseek(fd, 0, SEEK_END);
  struct table_totals totals;
  for (off_t at = 0; at < length; at += at < 200 ? 1 : 997) {
    uint8_t byte, flipped;
    assert_int_equal(fd_pread_all(fd, &byte, 1, (uint64_t)at), 0);
    flipped = byte ^ (uint8_t)(1 << at % 8);
    assert_int_equal(fd_pwrite_all(fd, &flipped, 1, (uint64_t)at), 0);
    assert_int_equal(table_check(fd, &mine, &totals, NULL), -EBADMSG);
    assert_int_equal(fd_pwrite_all(fd, &byte, 1, (uint64_t)at), 0);
  }
  assert_int_equal(table_check(fd, &mine, &totals, NULL), 0);
  const struct table_identity other = {1, 3};
  assert_int_equal(table_check(fd, &other, &totals, NULL), -EBADMSG);
  for (off_t cut = length - 1; cut >= 0; cut = cut > 300 ? cut / 2 : cut - 1) {
    assert_int_equal(ftruncate(fd, cut), 0);
    assert_int_equal(table_check(fd, &mine, &totals, NULL), -EBADMSG);
  }
  (void)close(fd);
}

/* Blocks are checked by themselves as well: whatever stands in one, reading it stays within it and ends. */
static void test_random_blocks(void **state) {
  (void)state;
  int fd = make_table();
  uint8_t *block = malloc(TABLE_BLOCK_BYTES_MAX);
  srandom(4711);
  unsigned refused = 0;
  for (unsigned i = 0; i < 3000; i++) {
    uint64_t at = table_first_offset() + (uint64_t)(random() % 3000);
    uint8_t byte, other = (uint8_t)random();
    assert_int_equal(fd_pread_all(fd, &byte, 1, at), 0);
    assert_int_equal(fd_pwrite_all(fd, &other, 1, at), 0);
    int r = table_read_block(fd, table_first_offset(), block);
    assert_true(r == 1 || r == -EBADMSG);
    refused += r < 0;
    struct table_entry e;
    for (uint32_t offset = table_block_first(block); r == 1 && table_block_next(block, &offset, &e);)
      assert_true(e.name + e.head.name_bytes <= (char *)block + table_block_head(block)->length_bytes);
    assert_int_equal(fd_pwrite_all(fd, &byte, 1, at), 0);
  }
  assert_true(refused > 0);
  free(block);
  (void)close(fd);
}

static void test_mark_unsure(void **state) {
  (void)state;
  int fd = make_table();
  uint8_t *block = malloc(TABLE_BLOCK_BYTES_MAX);
  struct table_entry e;
  assert_int_equal(table_read_block(fd, table_first_offset(), block), 1);
  uint32_t at = table_block_first(block);
  assert_true(table_block_next(block, &at, &e));
  assert_true(table_block_next(block, &at, &e));
  assert_int_equal(table_mark_unsure(fd, table_first_offset(), e.offset_in_block), 0);
  assert_int_equal(table_mark_unsure(fd, table_first_offset(), 0), 0);
  assert_int_equal(table_read_block(fd, table_first_offset(), block), 1);
  assert_true(table_block_head(block)->flags & TABLE_UNSURE);
  at = table_block_first(block);
  for (unsigned i = 0; i < 3; i++) {
    assert_true(table_block_next(block, &at, &e));
    assert_int_equal(e.head.flags, i == 1 ? 8 | TABLE_UNSURE : 8);
  }
  free(block);
  (void)close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_read_back),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_random_blocks),
      cmocka_unit_test(test_mark_unsure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
