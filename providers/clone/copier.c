/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine: a slot is a piece of the arena with one run of granules in it, first being read, then being written.
 * Slots are filled from the bitmap as they fall free; one system call submits what is ready and waits for at least
 * one end.
 *
 * The first failure stops the filling; what is in flight is waited for, so that no request outlives its memory (C7).
 */
#include "providers/clone/copier.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int copier_open(struct copier *c, struct umbra_error *err) {
  assert(!c->ring_open && (UINT64_C(1) << c->granule_shift) <= COPIER_SLOT_BYTES_SMALL);
  struct io_uring_params params = {.flags = IORING_SETUP_CLAMP};
  int r = io_uring_queue_init_params(COPIER_SLOTS_MAX, &c->ring, &params);
  if (r < 0)
    return error_code(err, r, "setting up io_uring");
  c->ring_open = true;
  void *arena = mmap(NULL, COPIER_ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED)
    return error_errno(err, "getting memory to copy through");
  c->arena = arena;
  struct iovec whole = {.iov_base = arena, .iov_len = COPIER_ARENA_BYTES};
  r = io_uring_register_buffers(&c->ring, &whole, 1);
  if (r < 0)
    return error_code(err, r, "registering memory to copy through");
  return 0;
}

void copier_close(struct copier *c) {
  if (c->ring_open)
    io_uring_queue_exit(&c->ring);
  c->ring_open = false;
  if (c->arena)
    (void)munmap(c->arena, COPIER_ARENA_BYTES);
  c->arena = NULL;
}

/* Images are written in whole COPIER_ALIGNMENT_BYTES; past the end of the device these are zeros. */
static uint32_t write_length(uint32_t length_bytes) {
  return (length_bytes + COPIER_ALIGNMENT_BYTES - 1) & ~(uint32_t)(COPIER_ALIGNMENT_BYTES - 1);
}

static unsigned char *slot_memory(struct copier *c, unsigned slot) { return c->arena + (size_t)slot * c->slot_bytes; }

static void submit_slot(struct copier *c, unsigned index) {
  struct copier_slot *slot = &c->slots[index];
  struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
  assert(sqe); /* the ring has an entry for every slot */
  unsigned char *memory = slot_memory(c, index) + slot->done_bytes;
  if (slot->writing)
    io_uring_prep_write_fixed(sqe, c->image_fd, memory, write_length(slot->length_bytes) - slot->done_bytes,
                              slot->offset_bytes + slot->done_bytes, 0);
  else
    io_uring_prep_read_fixed(sqe, c->device_fd, memory, slot->length_bytes - slot->done_bytes,
                             slot->offset_bytes + slot->done_bytes, 0);
  io_uring_sqe_set_data64(sqe, index);
}

static int fail_slot(struct copier *c, const struct copier_slot *slot, int code, struct umbra_error *err) {
  uint64_t at = slot->offset_bytes + slot->done_bytes;
  if (slot->writing)
    return error_code(err, code, "writing to an image in storage '%s' at offset %" PRIu64, c->image_name, at);
  return error_code(err, code, "reading device '%s' at offset %" PRIu64, c->device_name, at);
}

/* One end of a read or write. Returns the bytes finished for good (0 if the slot goes on) or negative. */
static int64_t advance_slot(struct copier *c, unsigned index, int result, bool stopping, struct umbra_error *err) {
  struct copier_slot *slot = &c->slots[index];
  uint32_t want = slot->writing ? write_length(slot->length_bytes) : slot->length_bytes;
  if (result == -EINTR || result == -EAGAIN)
    result = stopping ? -ECANCELED : 0;
  else if (result == 0)
    result = slot->writing ? -ENOSPC : -ENODATA;
  if (result < 0)
    return fail_slot(c, slot, result, err);
  slot->done_bytes += (uint32_t)result;
  if (slot->done_bytes >= want) {
    if (slot->writing)
      return slot->length_bytes;
    memset(slot_memory(c, index) + slot->length_bytes, 0, write_length(slot->length_bytes) - slot->length_bytes);
    slot->writing = true;
    slot->done_bytes = 0;
  }
  if (stopping)
    return -ECANCELED;
  submit_slot(c, index);
  return 0;
}

/* Bytes of the run of granules, cut at the end of the device. */
static uint32_t run_bytes(const struct copier *c, uint64_t first, uint64_t count) {
  uint64_t begin = first << c->granule_shift, end = (first + count) << c->granule_shift;
  if (end > c->size_bytes)
    end = c->size_bytes;
  assert(begin < end && end - begin <= COPIER_SLOT_BYTES_MAX);
  return (uint32_t)(end - begin);
}

static void choose_slots(struct copier *c, const struct bitmap *granules) {
  uint64_t at = 0, first, count, runs = 0, bits = 0;
  /* A look at the beginning is enough to tell long runs from short ones. */
  for (; runs < COPIER_SLOTS_MAX && bitmap_next_run(granules, at, UINT64_MAX, &first, &count); at = first + count) {
    runs++;
    bits += count;
  }
  bool small = runs > 0 && (bits << c->granule_shift) / runs < COPIER_SLOT_BYTES_SMALL;
  c->slot_bytes = small ? COPIER_SLOT_BYTES_SMALL : COPIER_SLOT_BYTES_MAX;
  c->free_count = COPIER_ARENA_BYTES / c->slot_bytes;
  for (unsigned i = 0; i < c->free_count; i++)
    c->free_slots[i] = i;
}

static bool fill_slots(struct copier *c, const struct bitmap *granules, uint64_t *at) {
  uint64_t first, count;
  while (c->free_count > 0) {
    if (!bitmap_next_run(granules, *at, c->slot_bytes >> c->granule_shift, &first, &count))
      return false;
    unsigned index = c->free_slots[--c->free_count];
    c->slots[index] =
        (struct copier_slot){.offset_bytes = first << c->granule_shift, .length_bytes = run_bytes(c, first, count)};
    submit_slot(c, index);
    *at = first + count;
  }
  return true;
}

/* Submits and waits for an end. Only a broken ring fails here, and then nothing more can be known of it. */
static int wait_for_end(struct copier *c, struct io_uring_cqe **cqe, struct umbra_error *err) {
  int r;
  do {
    r = io_uring_submit_and_wait(&c->ring, 1);
    if (r >= 0)
      r = io_uring_peek_cqe(&c->ring, cqe);
  } while (r == -EINTR || r == -EAGAIN || r == -EBUSY);
  return r < 0 ? error_code(err, r, "waiting for io_uring") : 0;
}

int copier_copy(struct copier *c, const struct bitmap *granules, copier_progress progress, void *context,
                struct umbra_error *err) {
  choose_slots(c, granules);
  const unsigned slots = c->free_count;
  uint64_t at = 0, done_bytes = 0;
  int failure = 0;
  for (bool more = true;;) {
    if (!failure && atomic_load_explicit(c->cancelled, memory_order_relaxed))
      failure =
          error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "copying device '%s' was cancelled", c->device_name);
    if (!failure && more)
      more = fill_slots(c, granules, &at);
    if (c->free_count == slots)
      break;
    struct io_uring_cqe *cqe = NULL;
    int r = wait_for_end(c, &cqe, err);
    if (r < 0)
      return r;
    for (; cqe; cqe = io_uring_peek_cqe(&c->ring, &cqe) == 0 ? cqe : NULL) {
      unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);
      int64_t ended = advance_slot(c, index, cqe->res, failure < 0, failure < 0 ? NULL : err);
      io_uring_cqe_seen(&c->ring, cqe);
      if (ended < 0 && !failure)
        failure = (int)ended;
      if (ended != 0)
        c->free_slots[c->free_count++] = index;
      if (ended > 0)
        done_bytes += (uint64_t)ended;
    }
    if (progress)
      progress(context, done_bytes);
  }
  return failure;
}

int last_round_reserve(struct last_round *last, uint64_t want_bytes, struct umbra_error *err) {
  want_bytes = (want_bytes + COPIER_SLOT_BYTES_MAX - 1) / COPIER_SLOT_BYTES_MAX * COPIER_SLOT_BYTES_MAX;
  if (want_bytes > LAST_ROUND_BYTES_MAX)
    want_bytes = LAST_ROUND_BYTES_MAX;
  if (last->memory_bytes >= want_bytes)
    return 0;
  last_round_done(last);
  uint64_t runs_bytes = LAST_ROUND_RUNS_MAX * sizeof *last->runs;
  void *memory =
      mmap(NULL, want_bytes + runs_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED)
    return error_errno(err, "getting %" PRIu64 " bytes of memory for the last round", want_bytes);
  /* A limit on locked memory is no reason to fail: the pages are there, and nothing has swapped them out yet. */
  (void)mlock(memory, want_bytes + runs_bytes);
  last->memory = memory;
  last->memory_bytes = want_bytes;
  last->runs = (void *)(last->memory + want_bytes); /* on a page boundary: see want_bytes */
  return 0;
}

void last_round_done(struct last_round *last) {
  if (last->memory)
    (void)munmap(last->memory, last->memory_bytes + LAST_ROUND_RUNS_MAX * sizeof *last->runs);
  *last = (struct last_round){0};
}

/* Lays the runs out in memory, one behind the other. */
static int plan_last(struct copier *c, const struct bitmap *granules, struct last_round *last) {
  uint64_t at = 0, first, count;
  last->used_bytes = last->run_count = 0;
  while (bitmap_next_run(granules, at, COPIER_SLOT_BYTES_MAX >> c->granule_shift, &first, &count)) {
    uint32_t length = run_bytes(c, first, count), space = write_length(length);
    if (last->used_bytes + space > last->memory_bytes || last->run_count >= LAST_ROUND_RUNS_MAX)
      return -EAGAIN;
    last->runs[last->run_count++] =
        (struct last_run){.offset_bytes = first << c->granule_shift, .length_bytes = length};
    last->used_bytes += space;
    at = first + count;
  }
  return 0;
}

static void submit_last(struct copier *c, const struct last_round *last, uint32_t index, unsigned char *memory,
                        bool writing) {
  const struct last_run *run = &last->runs[index];
  struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
  assert(sqe);
  uint64_t offset = run->offset_bytes + run->done_bytes;
  if (writing)
    io_uring_prep_write(sqe, c->image_fd, memory + run->done_bytes, write_length(run->length_bytes) - run->done_bytes,
                        offset);
  else
    io_uring_prep_read(sqe, c->device_fd, memory + run->done_bytes, run->length_bytes - run->done_bytes, offset);
  io_uring_sqe_set_data64(sqe, (uint64_t)(memory - last->memory) << 16 | index);
}

/*
 * Moves all runs in one direction.  The tag of a request is the run's place in memory (below 64 MiB) and its number
 * (below 2^16).
 */
static int move_last(struct copier *c, struct last_round *last, bool writing, struct umbra_error *err) {
  static_assert(LAST_ROUND_RUNS_MAX <= 1 << 16, "a run's number fits its tag");
  uint32_t next = 0, in_flight = 0;
  unsigned char *place = last->memory;
  int failure = 0;
  while (in_flight > 0 || (next < last->run_count && !failure)) {
    for (; !failure && next < last->run_count && in_flight < COPIER_SLOTS_MAX; next++, in_flight++) {
      last->runs[next].done_bytes = 0;
      submit_last(c, last, next, place, writing);
      place += write_length(last->runs[next].length_bytes);
    }
    struct io_uring_cqe *cqe = NULL;
    int r = wait_for_end(c, &cqe, err);
    if (r < 0)
      return r;
    uint64_t tag = io_uring_cqe_get_data64(cqe);
    int result = cqe->res;
    io_uring_cqe_seen(&c->ring, cqe);
    struct last_run *run = &last->runs[tag & 0xffff];
    if (result == -EINTR || result == -EAGAIN)
      result = 0;
    else if (result == 0)
      result = writing ? -ENOSPC : -ENODATA;
    run->done_bytes += result > 0 ? (uint32_t)result : 0;
    if (result >= 0 && !failure &&
        run->done_bytes < (writing ? write_length(run->length_bytes) : run->length_bytes)) {
      submit_last(c, last, tag & 0xffff, last->memory + (tag >> 16), writing);
      continue;
    }
    in_flight--;
    if (result < 0 && !failure) {
      struct copier_slot slot = {
          .offset_bytes = run->offset_bytes, .done_bytes = run->done_bytes, .writing = writing};
      failure = fail_slot(c, &slot, result, err);
    }
  }
  return failure;
}

int copier_read_last(struct copier *c, const struct bitmap *granules, struct last_round *last,
                     struct umbra_error *err) {
  int r = plan_last(c, granules, last);
  if (r < 0)
    return error_set(err, r, UMBRA_REASON_BUSY, "more than %" PRIu64 " bytes of device '%s' changed before the hold",
                     last->memory_bytes, c->device_name);
  return move_last(c, last, false, err);
}

int copier_write_last(struct copier *c, struct last_round *last, struct umbra_error *err) {
  /* The short run at the end of the device is followed by zeros: memory starts zeroed, but may have been used before.
   */
  if (last->run_count > 0) {
    uint32_t length = last->runs[last->run_count - 1].length_bytes;
    memset(last->memory + last->used_bytes - (write_length(length) - length), 0, write_length(length) - length);
  }
  int r = move_last(c, last, true, err);
  if (r >= 0)
    last->run_count = last->used_bytes = 0;
  return r;
}
