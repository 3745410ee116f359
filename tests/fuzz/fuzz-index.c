/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the index parser: the input is an index's uncompressed stream.  What it accepts must be in strict tree
 * order, have allowed paths, and encode to the same bytes again.  With replay.c it is a program that runs each
 * file of the corpus once.
 */
#include "backup/index-record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
  const uint8_t *data;
  size_t left_bytes;
};

static ssize_t fill(void *userdata, void *buffer, size_t capacity_bytes, struct umbra_error *err) {
  struct input *in = userdata;
  /* In odd pieces, so that records lie across their edges. */
  size_t n = in->left_bytes < 113 ? in->left_bytes : 113;
  (void)err;
  n = n < capacity_bytes ? n : capacity_bytes;
  memcpy(buffer, in->data, n);
  in->data += n;
  in->left_bytes -= n;
  return (ssize_t)n;
}

static void check(const struct index_record *record, const char *previous) {
  static uint8_t bytes[INDEX_RECORD_BYTES_MAX];
  static struct index_record again;
  if (!tree_path_valid(record->path, strlen(record->path)))
    abort();
  size_t n = index_record_encode(record, previous, bytes);
  if (n > sizeof bytes)
    abort();
  memset(&again, 0, sizeof again);
  again.kind = previous[0] ? INDEX_DIRECTORY : (enum index_kind)0;
  memcpy(again.path, previous, strlen(previous) + 1);
  if (index_record_decode(&again, bytes, n, NULL) < 0 || strcmp(again.path, record->path) != 0 ||
      strcmp(again.target, record->target) != 0 || again.kind != record->kind)
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char previous[TREE_PATH_BYTES_MAX + 1];
  struct input in = {data, size};
  struct umbra_error err = {0};
  struct index_reader *r = NULL;
  const struct index_record *record = NULL;
  bool first = true;
  previous[0] = '\0';
  if (index_reader_new(fill, &in, &r, &err) < 0)
    return 0;
  while (index_reader_next(r, &record, &err) == 1) {
    if (!first && tree_path_compare(previous, record->path) >= 0)
      abort();
    if (first || previous[0])
      check(record, previous);
    first = false;
    memcpy(previous, record->path, strlen(record->path) + 1);
  }
  index_reader_free(r);
  return 0;
}
