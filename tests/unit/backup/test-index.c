/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index: numbers, records, whole files, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backup/index-record.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static void test_numbers(void **state) {
  static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};
  (void)state;
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    uint8_t bytes[INDEX_NUMBER_BYTES_MAX];
    uint64_t back = 0;
    size_t n = index_number_encode(values[i], bytes);
    assert_int_equal(index_number_decode(bytes, n, &back), n);
    assert_true(back == values[i]);
    assert_int_equal(index_number_decode(bytes, n - 1, &back), 0);
  }
  uint64_t back = 0;
  assert_int_equal(index_number_decode((const uint8_t[]){0x80, 0}, 2, &back), 0); /* not the shortest form */
  assert_int_equal(index_number_decode((const uint8_t[]){255, 255, 255, 255, 255, 255, 255, 255, 255, 2}, 10, &back),
                   0);
  assert_int_equal(index_unzigzag(index_zigzag(-5)), -5);
  assert_true(index_unzigzag(index_zigzag(INT64_MIN)) == INT64_MIN);
}

static struct index_record *sample(const char *path, enum index_kind kind) {
  struct index_record *r = calloc(1, sizeof *r);
  assert_non_null(r);
  (void)strcpy(r->path, path);
  r->kind = kind;
  r->mode = 04755;
  r->uid = UINT32_MAX;
  r->gid = 7;
  r->size_bytes = INT64_MAX;
  r->inode = UINT64_MAX;
  r->links = 2;
  r->modified = (struct timespec){-5, 999999999};
  r->changed = (struct timespec){INT64_MAX / 4, 1};
  r->position = 3;
  r->offset_bytes = 512;
  memset(&r->metadata, 0xa5, sizeof r->metadata);
  if (kind == INDEX_FILE)
    memset(&r->content, 0x5a, sizeof r->content);
  r->sparse = kind == INDEX_FILE;
  if (kind == INDEX_SYMLINK || kind == INDEX_HARD_LINK)
    (void)strcpy(r->target, "a");
  if (kind == INDEX_BLOCK)
    r->device_major = UINT32_MAX;
  return r;
}

static void test_records(void **state) {
  (void)state;
  for (const char *kind = "dflhpcbx"; *kind; kind++) {
    CLEANUP_FREE struct index_record *r = sample("dir/file", (enum index_kind) * kind);
    CLEANUP_FREE struct index_record *back = calloc(1, sizeof *back);
    uint8_t bytes[INDEX_RECORD_BYTES_MAX];
    size_t n = index_record_encode(r, "dir/a", bytes);
    (void)strcpy(back->path, "dir/a");
    back->kind = INDEX_FILE;
    assert_int_equal(index_record_decode(back, bytes, n, NULL), 0);
    assert_string_equal(back->path, "dir/file");
    assert_string_equal(back->target, r->target);
    if (*kind != INDEX_DELETED)
      assert_true(back->modified.tv_sec == -5 && back->inode == UINT64_MAX && back->uid == UINT32_MAX);
    /* Each shorter form is refused, and one byte too many. */
    for (size_t shorter = 0; shorter <= n + 1; shorter++) {
      if (shorter == n)
        continue;
      bytes[n] = 0;
      (void)strcpy(back->path, "dir/a");
      assert_int_equal(index_record_decode(back, bytes, shorter, NULL), -EBADMSG);
    }
  }
}

static void refuse(const char *before, const char *path, enum index_kind kind, const char *target) {
  CLEANUP_FREE struct index_record *r = sample(path, kind);
  CLEANUP_FREE struct index_record *back = calloc(1, sizeof *back);
  struct umbra_error err = {0};
  uint8_t bytes[INDEX_RECORD_BYTES_MAX];
  (void)strcpy(r->target, target);
  size_t n = index_record_encode(r, before, bytes);
  (void)strcpy(back->path, before);
  back->kind = INDEX_FILE;
  assert_int_equal(index_record_decode(back, bytes, n, &err), -EBADMSG);
  assert_int_equal(err.reason, UMBRA_REASON_DAMAGED);
}

static void test_refused(void **state) {
  (void)state;
  refuse("a", "..", INDEX_FILE, "");
  refuse("a", "b/../c", INDEX_FILE, "");
  refuse("a", "b//c", INDEX_FILE, "");
  refuse("a", "b/", INDEX_DIRECTORY, "");
  refuse("", "/b", INDEX_FILE, "");
  refuse("b", "a", INDEX_FILE, "");
  refuse("b", "b", INDEX_FILE, "");
  refuse("a.b", "a/b", INDEX_FILE, ""); /* tree order, not order of bytes */
  refuse("a", "b", INDEX_HARD_LINK, "c");
  refuse("a", "b", INDEX_HARD_LINK, "../a");
  refuse("a", "b", INDEX_HARD_LINK, "");
  refuse("a", "b", INDEX_SYMLINK, "");
  refuse("a", "b", (enum index_kind)'q', "");
}

/* A whole index through a file, any bit of which matters. */
static void test_file(void **state) {
  (void)state;
  enum { RECORDS = 3000 };
  int fd = memfd_create("index", MFD_CLOEXEC);
  struct index_header header = {.position = 2, .racy_after = {5, 6}};
  struct index_writer *w = NULL;
  struct index_reader *r = NULL;
  const struct index_record *record = NULL;
  uint64_t records = 0;
  CLEANUP_FREE struct index_record *s = sample("x", INDEX_FILE);
  assert_int_equal(index_writer_new(fd, &header, &w, NULL), 0);
  for (int i = 0; i < RECORDS; i++) {
    (void)snprintf(s->path, sizeof s->path, "dir/%06d", i);
    assert_int_equal(index_writer_add(w, s, NULL), 0);
  }
  assert_int_equal(index_writer_finish(w, &records, NULL), 0);
  assert_int_equal(records, RECORDS);
  index_writer_free(w);
  assert_int_equal(index_reader_open(fd, "i", &r, NULL), 0);
  assert_int_equal(index_reader_header(r)->position, 2);
  int seen = 0, result;
  while ((result = index_reader_next(r, &record, NULL)) == 1)
    seen++;
  assert_int_equal(result, 0);
  assert_int_equal(index_reader_next(r, &record, NULL), 0);
  assert_int_equal(seen, RECORDS);
  index_reader_free(r);

  off_t size = lseek(fd, 0, SEEK_END);
  for (off_t at = 0; at < size; at += size / 40 + 1) {
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    r = NULL;
    result = index_reader_open(fd, "i", &r, NULL);
    while (result >= 0 && (result = index_reader_next(r, &record, NULL)) == 1)
      ;
    assert_true(result < 0);
    index_reader_free(r);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
  }
  (void)close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers), cmocka_unit_test(test_records),
                                     cmocka_unit_test(test_refused), cmocka_unit_test(test_file)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
