/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rounds of a clone.  At any time between them:
 *
 *     every granule in use whose content in the image may differ from the device's is in todo, or marked in tracking
 * (C1)
 *
 * A round takes the marks (they are then in todo), reads what is in todo and writes it to the image.  A write that
 * comes after the take marks its granule anew, whether the read saw it or not.  Under the hold there are no writes:
 * after a last take and a last read nothing is left.
 */
#include "providers/clone/rounds.h"

#include "common/cleanup.h"
#include "volume/extents.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Marks are compared with what is in use only when there are so many that asking the filesystem pays. */
enum { FILTER_GRANULES_MIN = 2048 };

static uint64_t bytes_of(const struct clone *c, const struct bitmap *granules) {
  return bitmap_count(granules) << c->granule_shift;
}

static void leave_own_out(const struct clone *c, struct bitmap *granules) {
  if (c->image.own.bits > 0)
    bitmap_and_not(granules, &c->image.own);
}

/* All that is in use now; everything where the filesystem cannot tell. */
static int ask_allocated(struct clone *c, struct bitmap *allocated, struct umbra_error *err) {
  int r = extents_allocated(c->s->volume_fd, c->s->volume->block_device, c->granule_shift, allocated, err);
  if (r == -EOPNOTSUPP) {
    error_clear(err);
    bitmap_set_range(allocated, 0, allocated->bits);
    return 0;
  }
  return r < 0 ? error_prefix(err, r, "volume '%s'", c->s->volume->mount_point) : 0;
}

static int measure(struct clone *c, struct umbra_error *err) {
  c->granule_shift = track_granule_shift(c->track);
  c->device_bytes = track_bytes(c->track);
  int r = bitmap_init(&c->todo, track_granules(c->track));
  if (r >= 0)
    r = bitmap_init(&c->marks, track_granules(c->track));
  return r < 0 ? error_code(err, r, "getting memory for a clone") : 0;
}

/* Tracking starts before the question what is in use: what is allocated after the answer is written after it, too. */
static int start_over(struct clone *c, bool sturdy, struct umbra_error *err) {
  c->track = track_stop(c->track);
  if (c->track_id[0]) {
    (void)track_unpin(c->track_id, NULL);
    c->track_id[0] = 0;
  }
  /* What paths need may be fetched after the hold, when it may have been freed, and what was in it discarded. */
  unsigned flags = (sturdy ? TRACK_STURDY : 0) | (c->partial.on ? 0 : TRACK_WITHOUT_DISCARDS);
  int r = track_start(c->device_fd, flags, &c->track, err);
  if (r < 0)
    return error_prefix(err, r, "device '%s'", c->s->volume->block_path);
  if (c->todo.bits == 0) {
    r = measure(c, err);
    if (r < 0)
      return r;
  }
  if (track_bytes(c->track) != c->device_bytes)
    return error_set(err, -ESTALE, UMBRA_REASON_PROVIDER, "device '%s' changed its size", c->s->volume->block_path);
  bitmap_clear_all(&c->todo);
  if (c->partial.copied.bits > 0)
    bitmap_clear_all(&c->partial.copied);
  uint64_t new_granules;
  if (c->partial.on)
    r = partial_plan(c, &c->todo, &new_granules, err);
  if (r >= 0 && !c->partial.on)
    r = ask_allocated(c, &c->todo, err);
  leave_own_out(c, &c->todo);
  return r;
}

int rounds_start(struct clone *c, struct umbra_error *err) {
  /* What waits in memory is written before tracking begins: written after, all of it would be copied, wanted or not.
   */
  (void)syncfs(c->s->volume_fd);
  return start_over(c, false, err);
}

/* Marks of what is free by now are dropped: what is allocated later is written later. */
static int drop_free(struct clone *c, struct umbra_error *err) {
  CLEANUP(bitmap_done) struct bitmap allocated;
  int r = bitmap_init(&allocated, c->marks.bits);
  if (r < 0)
    return error_code(err, r, "getting memory for a clone");
  r = ask_allocated(c, &allocated, err);
  for (uint64_t i = 0; r >= 0 && i < bitmap_word_count(&c->marks); i++)
    c->marks.words[i] &= allocated.words[i];
  return r;
}

/* Moves the marks to todo. 1: tracking may have missed something, all is to be copied again. */
static int take(struct clone *c, struct umbra_error *err) {
  bool sturdy = c->start_sturdy;
  bitmap_clear_all(&c->marks);
  int r = c->void_tracking ? -ESTALE : track_take(c->track, &c->marks, &sturdy, err);
  if (r == -ESTALE && c->restarts < RESTARTS_MAX) {
    c->restarts++;
    c->void_tracking = false;
    error_clear(err);
    r = start_over(c, sturdy, err);
    return r < 0 ? r : 1;
  }
  if (r < 0)
    return error_prefix(err, r, "device '%s'", c->s->volume->block_path);
  leave_own_out(c, &c->marks);
  if (bitmap_count(&c->marks) >= FILTER_GRANULES_MIN)
    r = drop_free(c, err);
  bitmap_or(&c->todo, &c->marks);
  return r;
}

int rounds_resume(struct clone *c, struct umbra_error *err) {
  int r = measure(c, err);
  if (r >= 0)
    r = take(c, err);
  return r < 0 ? r : 0;
}

static void show_progress(void *context, uint64_t done_bytes) {
  struct clone *c = context;
  /* Granules are whole, the device's end may not be. */
  if (done_bytes > c->phase_bytes)
    done_bytes = c->phase_bytes;
  c->s->services->progress(c->s, c->phase, done_bytes, c->phase_bytes);
}

/* Copies all of todo. */
static int copy_todo(struct clone *c, const char *phase, struct umbra_error *err) {
  int r = image_reserve(&c->image, &c->todo, err);
  if (r < 0)
    return r;
  leave_own_out(c, &c->todo); /* what was just reserved may have been free when it was marked */
  c->phase = phase;
  c->phase_bytes = bytes_of(c, &c->todo);
  show_progress(c, 0);
  r = copier_copy(&c->copier, &c->todo, show_progress, c, err);
  if (r == -ENOSPC)
    return error_prefix(err, r, "the shadow copy needs about %" PRIu64 " bytes in storage '%s'",
                        bitmap_count(&c->image.have) << c->granule_shift, c->image.storage_dir);
  if (r < 0)
    return r;
  partial_note_copied(c, &c->todo);
  bitmap_clear_all(&c->todo);
  return 0;
}

/* Rounds until little is left or it does not get less. What is left stays in todo. */
static int converge(struct clone *c, struct umbra_error *err) {
  uint64_t before_bytes = UINT64_MAX;
  for (unsigned round = 0; round < ROUNDS_MAX; round++) {
    char phase[24] = "copy";
    if (round > 0)
      (void)snprintf(phase, sizeof phase, "round %u", round);
    int r = copy_todo(c, phase, err);
    if (r >= 0)
      r = take(c, err);
    if (r < 0)
      return r;
    if (r > 0) {
      round = 0;
      before_bytes = UINT64_MAX;
      continue;
    }
    uint64_t rest_bytes = bytes_of(c, &c->todo);
    if (rest_bytes <= REST_BYTES_SMALL || rest_bytes >= before_bytes - before_bytes / 8)
      break;
    before_bytes = rest_bytes;
  }
  return 0;
}

int rounds_run(struct clone *c, struct umbra_error *err) {
  /* Now: got right before the hold, memory would take longer than the volume needs to become dirty again. */
  int r = last_round_reserve(&c->last, LAST_ROUND_BYTES_MIN, err);
  if (r >= 0)
    r = converge(c, err);
  for (unsigned plan = 1; r >= 0 && c->partial.on && plan < PARTIAL_PLANS_MAX; plan++) {
    uint64_t new_granules = 0;
    r = partial_plan(c, &c->todo, &new_granules, err);
    if (r >= 0 && !c->partial.on)
      r = ask_allocated(c, &c->todo, err);
    if (r >= 0 && c->partial.on && new_granules == 0)
      break;
    if (r >= 0)
      r = converge(c, err);
  }
  return r;
}

int rounds_prepare_hold(struct clone *c, struct umbra_error *err) {
  uint64_t rest_bytes = 0, before_bytes = UINT64_MAX;
  for (unsigned flush = 0; flush < FLUSHES_MAX; flush++) {
    /* What waits in memory is written now: it would be written by the freeze, after the last round that is not held.
     */
    if (syncfs(c->s->volume_fd) < 0)
      return error_errno(err, "flushing volume '%s'", c->s->volume->mount_point);
    int r = take(c, err);
    if (r >= 0)
      rest_bytes = bytes_of(c, &c->todo);
    if (r >= 0)
      r = rest_bytes > LAST_ROUND_BYTES_MAX ? converge(c, err) : copy_todo(c, "catch up", err);
    if (r < 0)
      return r;
    if (rest_bytes <= REST_BYTES_SMALL || rest_bytes >= before_bytes - before_bytes / 4)
      break;
    before_bytes = rest_bytes;
  }
  uint64_t want_bytes = (rest_bytes + c->rest_bytes) * 4;
  return last_round_reserve(&c->last, want_bytes > LAST_ROUND_BYTES_MIN ? want_bytes : LAST_ROUND_BYTES_MIN, err);
}

int rounds_hold(struct clone *c, struct umbra_error *err) {
  bool sturdy = false;
  bitmap_clear_all(&c->marks);
  int r = track_take(c->track, &c->marks, &sturdy, err);
  if (r == -ESTALE) {
    c->void_tracking = true;
    c->start_sturdy = sturdy;
    return error_prefix(err, -EAGAIN, "device '%s'", c->s->volume->block_path);
  }
  uint64_t bytes_now = 0;
  if (r >= 0 && ioctl(c->device_fd, BLKGETSIZE64, &bytes_now) < 0)
    return error_errno(err, "asking device '%s' for its size", c->s->volume->block_path);
  if (r >= 0 && bytes_now != c->device_bytes)
    return error_set(err, -ESTALE, UMBRA_REASON_PROVIDER, "device '%s' changed its size", c->s->volume->block_path);
  if (r < 0)
    return r;
  leave_own_out(c, &c->marks);
  bitmap_or(&c->marks, &c->todo);
  r = copier_read_last(&c->copier, &c->marks, &c->last, err);
  c->rest_bytes = bytes_of(c, &c->marks);
  /* Not read, or not for sure: all of it is to be copied yet. */
  if (r < 0)
    bitmap_or(&c->todo, &c->marks);
  return r;
}

int rounds_finish(struct clone *c, struct umbra_error *err) {
  int r = image_reserve(&c->image, &c->marks, err);
  if (r >= 0)
    r = copier_write_last(&c->copier, &c->last, err);
  if (r >= 0) {
    partial_note_copied(c, &c->marks);
    r = c->partial.on ? partial_complete(c, err) : 0;
  }
  if (r == -ENOSPC)
    return error_prefix(err, r, "the shadow copy needs about %" PRIu64 " bytes in storage '%s'",
                        bitmap_count(&c->image.have) << c->granule_shift, c->image.storage_dir);
  return r;
}
