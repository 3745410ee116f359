/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/storage.h"

#include "common/bitmap.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/fs.h>

struct cow_storage {
  int fd;
  bool grows; /* a file */
  uint64_t start_bytes;
  const struct cow_extents *extents;      /* or NULL */
  uint32_t chunk_bytes, slots_max, slots; /* slots: allocated */

  pthread_mutex_t lock; /* rank 8: the rest */
  struct bitmap used;
  uint32_t used_count;
  uint64_t next; /* where the search goes on: copies of one time lie together */
};

static uint32_t slots_of(const struct cow_extents *x) {
  return atomic_load(&x->count) > 0 && atomic_load(&x->certain) ? x->slots : 0;
}

/* Where a slot is, and how many from it on lie in a row. */
static uint64_t place_of(const struct cow_storage *s, uint32_t slot, uint32_t *ret_row) {
  if (s->extents)
    return cow_extents_place(s->extents, slot, s->chunk_bytes, ret_row);
  *ret_row = UINT32_MAX;
  return s->start_bytes + (uint64_t)slot * s->chunk_bytes;
}

static int set_up(struct cow_storage *s, const struct cow_storage_options *o, struct umbra_error *err) {
  struct stat st;
  uint64_t bytes = 0;
  if (fstat(o->fd, &st) < 0)
    return error_errno(err, "looking at the storage");
  if (S_ISBLK(st.st_mode) && ioctl(o->fd, BLKGETSIZE64, &bytes) < 0)
    return error_errno(err, "asking the storage device for its size");
  s->fd = o->fd;
  s->grows = !S_ISBLK(st.st_mode) && !o->extents;
  s->extents = o->extents;
  s->chunk_bytes = o->chunk_bytes;
  s->start_bytes = o->start_bytes;
  bytes = bytes > o->start_bytes ? bytes - o->start_bytes : 0;
  uint64_t limit_bytes = s->grows || s->extents || o->limit_bytes < bytes ? o->limit_bytes : bytes;
  uint64_t slots_max = limit_bytes / o->chunk_bytes;
  if (slots_max == 0)
    return error_set(err, -ENOSPC, UMBRA_REASON_STORAGE, "the storage's limit of %llu bytes is less than one chunk",
                     (unsigned long long)limit_bytes);
  s->slots_max = slots_max < COW_SLOTS_MAX ? (uint32_t)slots_max : COW_SLOTS_MAX;
  s->slots = s->grows ? 0 : s->extents ? slots_of(s->extents) : s->slots_max;
  if (bitmap_init(&s->used, s->slots_max) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "memory for %u slots", s->slots_max);
  return 0;
}

int cow_storage_open(const struct cow_storage_options *options, struct cow_storage **ret, struct umbra_error *err) {
  struct cow_storage *s = calloc(1, sizeof *s);
  if (!s)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "opening the storage");
  pthread_mutex_init(&s->lock, NULL);
  int r = set_up(s, options, err);
  if (r < 0) {
    cow_storage_close(s);
    return r;
  }
  *ret = s;
  return 0;
}

void cow_storage_close(struct cow_storage *s) {
  if (!s)
    return;
  bitmap_done(&s->used);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

uint32_t cow_storage_slots_max(const struct cow_storage *s) { return s->slots_max; }

/* The next step is allocated. Called with the lock: others would only find that there is nothing, too. */
static int grow(struct cow_storage *s) {
  uint32_t step = COW_STORAGE_STEP_BYTES / s->chunk_bytes;
  if (!s->grows || s->slots >= s->slots_max)
    return -ENOSPC;
  if (step > s->slots_max - s->slots)
    step = s->slots_max - s->slots;
  if (fallocate(s->fd, 0, (off_t)(s->start_bytes + (uint64_t)s->slots * s->chunk_bytes),
                (off_t)step * s->chunk_bytes) < 0)
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? -ENOSPC : -errno;
  s->slots += step;
  return 0;
}

int cow_storage_claim(struct cow_storage *s, uint32_t slot) {
  if (slot >= s->slots_max)
    return -EUCLEAN;
  /* It was allocated, and its step with it, when it was first used: not again, since that may fail by now (E11). */
  if (slot >= s->slots && !s->extents) {
    uint64_t step = COW_STORAGE_STEP_BYTES / s->chunk_bytes, slots = (slot / step + 1) * step;
    s->slots = slots < s->slots_max ? (uint32_t)slots : s->slots_max;
  }
  if (bitmap_test(&s->used, slot))
    return -EUCLEAN;
  bitmap_set(&s->used, slot);
  s->used_count++;
  return 0;
}

static bool is_free(const struct cow_storage *s, uint64_t slot) {
  return slot < s->slots && !bitmap_test(&s->used, slot);
}

/* The next free slot at or after s->next, round once. */
static bool find_free(struct cow_storage *s, uint64_t *ret) {
  if (s->used_count >= s->slots)
    return false;
  uint64_t at = s->next < s->slots ? s->next : 0;
  while (!is_free(s, at)) {
    /* A word of 64 at a time: the free ones may be far. */
    if (at % 64 == 0 && at + 64 <= s->slots && s->used.words[at / 64] == UINT64_MAX)
      at += 64;
    else
      at++;
    if (at >= s->slots)
      at = 0;
  }
  *ret = at;
  return true;
}

/* What it may grow to. */
static uint32_t slots_at_most(const struct cow_storage *s) { return s->extents ? s->slots : s->slots_max; }

static bool over_warning(const struct cow_storage *s) {
  return slots_at_most(s) > 0 && s->used_count >= (uint64_t)slots_at_most(s) * COW_STORAGE_WARN_PERCENT / 100;
}

/* Under the lock. */
static int get(struct cow_storage *s, uint32_t count_max, uint32_t *ret_first, uint32_t *ret_count) {
  uint64_t first = 0;
  uint32_t count = 0;
  bool found = find_free(s, &first);
  int r = 0;
  if (!found && (r = grow(s)) == 0)
    found = find_free(s, &first);
  if (found) {
    uint32_t row;
    (void)place_of(s, (uint32_t)first, &row);
    count_max = row < count_max ? row : count_max;
    while (count < count_max && is_free(s, first + count))
      bitmap_set(&s->used, first + count++);
    s->used_count += count;
    s->next = first + count;
    *ret_first = (uint32_t)first;
    *ret_count = count;
  }
  return found ? 0 : r;
}

int cow_storage_get(struct cow_storage *s, uint32_t count_max, uint32_t *ret_first, uint32_t *ret_count) {
  pthread_mutex_lock(&s->lock);
  int r = get(s, count_max, ret_first, ret_count);
  pthread_mutex_unlock(&s->lock);
  return r;
}

int cow_storage_get_spare(struct cow_storage *s, uint32_t *ret) {
  uint32_t count;
  pthread_mutex_lock(&s->lock);
  int r = over_warning(s) ? -ENOSPC : get(s, 1, ret, &count);
  pthread_mutex_unlock(&s->lock);
  return r;
}

void cow_storage_put(struct cow_storage *s, uint32_t slot) {
  pthread_mutex_lock(&s->lock);
  bitmap_clear(&s->used, slot);
  s->used_count--;
  pthread_mutex_unlock(&s->lock);
}

struct cow_transfer cow_storage_transfer(const struct cow_storage *s, uint32_t first, uint32_t count, void *buffer) {
  uint32_t row;
  uint64_t place = place_of(s, first, &row);
  return (struct cow_transfer){.fd = s->fd,
                               .write = true,
                               .buffer = buffer,
                               .length_bytes = (size_t)count * s->chunk_bytes,
                               .offset_bytes = place};
}

int cow_storage_read(struct cow_storage *s, uint32_t first, uint64_t offset_bytes, void *buffer,
                     size_t length_bytes) {
  int r = 0;
  first += (uint32_t)(offset_bytes / s->chunk_bytes);
  offset_bytes %= s->chunk_bytes;
  for (size_t done = 0, part; done < length_bytes && r >= 0; done += part, offset_bytes = 0) {
    uint32_t row;
    uint64_t place = place_of(s, first, &row), there = (uint64_t)row * s->chunk_bytes - offset_bytes;
    part = there < length_bytes - done ? (size_t)there : length_bytes - done;
    r = fd_pread_all(s->fd, (unsigned char *)buffer + done, part, place + offset_bytes);
    first += row;
  }
  return r;
}

int cow_storage_write(struct cow_storage *s, uint32_t slot, uint64_t offset_bytes, const void *buffer,
                      size_t length_bytes) {
  uint32_t row;
  return fd_pwrite_all(s->fd, buffer, length_bytes, place_of(s, slot, &row) + offset_bytes);
}

void cow_storage_extents_changed(struct cow_storage *s) {
  pthread_mutex_lock(&s->lock);
  s->slots = slots_of(s->extents);
  s->next = 0;
  pthread_mutex_unlock(&s->lock);
}

void cow_storage_status(struct cow_storage *s, struct cow_storage_status *ret) {
  pthread_mutex_lock(&s->lock);
  *ret = (struct cow_storage_status){
      .used_bytes = (uint64_t)s->used_count * s->chunk_bytes,
      .bytes = (uint64_t)s->slots * s->chunk_bytes,
      .limit_bytes = (uint64_t)slots_at_most(s) * s->chunk_bytes,
      .over_warning = over_warning(s),
  };
  pthread_mutex_unlock(&s->lock);
}
