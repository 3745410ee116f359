/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sorted directory contents in bounded memory. See listing.h. */
#include "backup/listing.h"

#include "backup/spool.h"
#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

enum { READ_BYTES = 64 * 1024, RUN_BUFFER_BYTES = 16 * 1024 };

struct run {
  struct spool_cursor cursor;
  uint64_t end_bytes;
  bool live; /* cursor.record is its next name */
};

struct listing {
  char *names; /* one after the other, each with its NUL */
  size_t names_bytes, names_capacity_bytes;
  uint32_t *order; /* offsets into names */
  size_t count, order_capacity, next;
  size_t *used_bytes; /* the walk's account */
  size_t accounted_bytes;
  int spool_dir_fd;
  struct spool spool; /* fd -1 until something did not fit */
  uint64_t run_ends[LISTING_RUNS_MAX];
  struct run *runs;
  size_t run_count;
  struct run *taken; /* whose record was returned last */
};

static void account(struct listing *l) {
  size_t bytes = l->names_capacity_bytes + l->order_capacity * sizeof *l->order;
  *l->used_bytes += bytes - l->accounted_bytes;
  l->accounted_bytes = bytes;
}

static int add_name(struct listing *l, const char *name) {
  size_t length_bytes = strlen(name) + 1;
  if (l->names_bytes + length_bytes > l->names_capacity_bytes) {
    size_t capacity = l->names_capacity_bytes ? 2 * l->names_capacity_bytes : 512;
    char *larger = realloc(l->names, capacity);
    if (!larger)
      return -ENOMEM;
    l->names = larger;
    l->names_capacity_bytes = capacity;
    account(l);
  }
  if (l->count == l->order_capacity) {
    size_t capacity = l->order_capacity ? 2 * l->order_capacity : 32;
    uint32_t *larger = realloc(l->order, capacity * sizeof *larger);
    if (!larger)
      return -ENOMEM;
    l->order = larger;
    l->order_capacity = capacity;
    account(l);
  }
  memcpy(l->names + l->names_bytes, name, length_bytes);
  l->order[l->count++] = (uint32_t)l->names_bytes;
  l->names_bytes += length_bytes;
  return 0;
}

static int compare(const void *a, const void *b, void *names) {
  const char *text = names;
  return strcmp(text + *(const uint32_t *)a, text + *(const uint32_t *)b);
}

static void sort(struct listing *l) {
  if (l->count > 1)
    qsort_r(l->order, l->count, sizeof *l->order, compare, l->names);
}

/* Moves what is in memory, sorted, to the end of the spool. */
static int spill(struct listing *l, struct umbra_error *err) {
  if (l->run_count == LISTING_RUNS_MAX)
    return error_set(err, -EFBIG, UMBRA_REASON_LIMIT, "a directory has too many entries to sort (%d runs)",
                     LISTING_RUNS_MAX);
  if (l->spool.fd < 0) {
    int r = spool_init(&l->spool, l->spool_dir_fd, err);
    if (r < 0)
      return r;
  }
  sort(l);
  for (size_t i = 0; i < l->count; i++) {
    const char *name = l->names + l->order[i];
    int r = spool_append(&l->spool, name, strlen(name), err);
    if (r < 0)
      return r;
  }
  l->run_ends[l->run_count++] = spool_length(&l->spool);
  l->count = l->names_bytes = 0;
  return 0;
}

struct kernel_entry {
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

/* A listing may take what is left of the budget, and always a little, so that deep trees go on. */
static bool over_budget(const struct listing *l) {
  return *l->used_bytes > LISTING_BYTES_MAX && l->names_bytes >= READ_BYTES;
}

static int read_names(struct listing *l, int dir_fd, struct umbra_error *err) {
  CLEANUP_FREE char *buffer = malloc(READ_BYTES);
  if (!buffer)
    return error_code(err, -ENOMEM, "reading a directory");
  for (;;) {
    long n = syscall(SYS_getdents64, dir_fd, buffer, (size_t)READ_BYTES);
    if (n < 0)
      return error_errno(err, "reading a directory");
    if (n == 0)
      return 0;
    for (long at = 0; at < n;) {
      const struct kernel_entry *e = (const void *)(buffer + at);
      at += e->length;
      if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
        continue;
      if (add_name(l, e->name) < 0)
        return error_code(err, -ENOMEM, "reading a directory");
    }
    if (over_budget(l)) {
      int r = spill(l, err);
      if (r < 0)
        return r;
    }
  }
}

static int run_advance(struct run *run, struct umbra_error *err) {
  run->live = false;
  if (run->cursor.position_bytes >= run->end_bytes)
    return 0;
  int r = spool_next(&run->cursor, err);
  run->live = r == 1;
  return r < 0 ? r : 0;
}

/* The rest goes to the spool too, and every run gets a reader. */
static int begin_merge(struct listing *l, struct umbra_error *err) {
  int r = l->count > 0 ? spill(l, err) : 0;
  if (r < 0)
    return r;
  free(l->names);
  free(l->order);
  l->names = NULL;
  l->order = NULL;
  l->names_capacity_bytes = l->order_capacity = 0;
  account(l);
  l->runs = calloc(l->run_count, sizeof *l->runs);
  if (!l->runs)
    return error_code(err, -ENOMEM, "sorting a directory");
  for (size_t i = 0; i < l->run_count; i++) {
    r = spool_cursor_init(&l->runs[i].cursor, &l->spool, RUN_BUFFER_BYTES, err);
    if (r < 0)
      return r;
    spool_cursor_seek(&l->runs[i].cursor, i > 0 ? l->run_ends[i - 1] : 0);
    l->runs[i].end_bytes = l->run_ends[i];
    r = run_advance(&l->runs[i], err);
    if (r < 0)
      return r;
  }
  return 0;
}

int listing_read(int dir_fd, size_t *used_bytes, int spool_dir_fd, struct listing **ret, struct umbra_error *err) {
  struct listing *l = calloc(1, sizeof *l);
  if (!l)
    return error_code(err, -ENOMEM, "reading a directory");
  l->used_bytes = used_bytes;
  l->spool_dir_fd = spool_dir_fd;
  l->spool.fd = -1;
  int r = read_names(l, dir_fd, err);
  if (r == 0 && l->run_count > 0)
    r = begin_merge(l, err);
  else if (r == 0)
    sort(l);
  if (r < 0)
    listing_free(l);
  else
    *ret = l;
  return r;
}

static int merge_next(struct listing *l, const char **ret, struct umbra_error *err) {
  if (l->taken) {
    int r = run_advance(l->taken, err);
    if (r < 0)
      return r;
  }
  struct run *least = NULL;
  for (size_t i = 0; i < l->run_count; i++)
    if (l->runs[i].live && (!least || strcmp(l->runs[i].cursor.record, least->cursor.record) < 0))
      least = &l->runs[i];
  l->taken = least;
  if (!least)
    return 0;
  *ret = least->cursor.record;
  return 1;
}

int listing_next(struct listing *l, const char **ret, struct umbra_error *err) {
  if (l->runs)
    return merge_next(l, ret, err);
  if (l->next == l->count)
    return 0;
  *ret = l->names + l->order[l->next++];
  return 1;
}

void listing_free(struct listing *l) {
  if (!l)
    return;
  for (size_t i = 0; l->runs && i < l->run_count; i++)
    spool_cursor_done(&l->runs[i].cursor);
  free(l->runs);
  spool_done(&l->spool);
  free(l->names);
  free(l->order);
  *l->used_bytes -= l->accounted_bytes;
  free(l);
}
