/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moves granules from a device into an image, several at a time, past the page cache of both (io_uring, O_DIRECT, one
 * registered arena); and, for the last round, from the device into memory and from there into the image.
 *
 * Belongs to one thread.  Every call blocks until all it started has ended, also when it fails or is cancelled.
 */
#ifndef PROVIDERS_CLONE_COPIER_H
#define PROVIDERS_CLONE_COPIER_H

#include "common/bitmap.h"
#include "common/error.h"

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  COPIER_ARENA_BYTES = 4 * 1024 * 1024,
  COPIER_SLOT_BYTES_MAX = 1024 * 1024,  /* one read and one write of a long run */
  COPIER_SLOT_BYTES_SMALL = 128 * 1024, /* …where runs are short: more of them in flight */
  COPIER_SLOTS_MAX = COPIER_ARENA_BYTES / COPIER_SLOT_BYTES_SMALL,
  COPIER_ALIGNMENT_BYTES = 4096,           /* of offsets and lengths in the image and of memory */
  LAST_ROUND_BYTES_MAX = 64 * 1024 * 1024, /* read under the hold, kept in memory */
  LAST_ROUND_RUNS_MAX = LAST_ROUND_BYTES_MAX / COPIER_ALIGNMENT_BYTES,
};

struct copier_slot {
  uint64_t offset_bytes;
  uint32_t length_bytes, done_bytes;
  bool writing;
};

/* Called with the bytes done in this call; how often does not matter. */
typedef void (*copier_progress)(void *context, uint64_t done_bytes);

struct copier {
  /* Set by the user before copier_open(), constant after. */
  int device_fd, image_fd;
  const char *device_name, *image_name; /* for messages; the image's is the storage folder's */
  uint64_t size_bytes;                  /* of the device */
  unsigned granule_shift;
  atomic_bool *cancelled;

  /* Its own. */
  struct io_uring ring;
  bool ring_open;
  unsigned char *arena;
  struct copier_slot slots[COPIER_SLOTS_MAX];
  unsigned free_slots[COPIER_SLOTS_MAX], free_count, slot_bytes;
};

int copier_open(struct copier *c, struct umbra_error *err);
void copier_close(struct copier *c); /* a closed or zeroed one is fine */

/* Copies each granule set in *granules. -ECANCELED, -ENOSPC and -EIO as they come, with device or storage named. */
int copier_copy(struct copier *c, const struct bitmap *granules, copier_progress progress, void *context,
                struct umbra_error *err);

/* What was read under the hold. */
struct last_run {
  uint64_t offset_bytes;
  uint32_t length_bytes, done_bytes;
};
struct last_round {
  unsigned char *memory; /* locked */
  uint64_t memory_bytes, used_bytes;
  struct last_run *runs;
  uint32_t run_count;
};

/* Memory for at least want_bytes (at most LAST_ROUND_BYTES_MAX), locked; keeps what is there if it is enough. */
int last_round_reserve(struct last_round *last, uint64_t want_bytes, struct umbra_error *err);
void last_round_done(struct last_round *last);

/* Reads each granule set into memory. Allocates, opens and writes nothing. -EAGAIN: does not fit. */
int copier_read_last(struct copier *c, const struct bitmap *granules, struct last_round *last,
                     struct umbra_error *err);

/* Writes what is in memory into the image and empties it. */
int copier_write_last(struct copier *c, struct last_round *last, struct umbra_error *err);

#endif
