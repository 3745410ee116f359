/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A clone under way: the device, its tracking, the image, and what is still to be copied.  rounds.c brings the image
 * ever nearer to the device and takes the last step under the hold; clone.c makes a provider of it.
 */
#ifndef PROVIDERS_CLONE_ROUNDS_H
#define PROVIDERS_CLONE_ROUNDS_H

#include "common/bitmap.h"
#include "common/error.h"
#include "common/id.h"
#include "providers/clone/copier.h"
#include "providers/clone/image.h"
#include "providers/clone/partial.h"
#include "providers/provider.h"
#include "track/track.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  ROUNDS_MAX = 32,                         /* before the hold is tried with whatever is left */
  REST_BYTES_SMALL = 1024 * 1024,          /* little enough for the hold */
  FLUSHES_MAX = 4,                         /* …of the volume before the hold */
  LAST_ROUND_BYTES_MIN = 24 * 1024 * 1024, /* memory that is got in any case */
  RESTARTS_MAX = 3,                        /* of the copy, when tracking may have missed a write */
};

struct clone {
  struct shadow *s; /* the coordinator's */
  int device_fd;
  struct track *track;
  struct image image;
  struct copier copier;
  struct last_round last;
  struct partial partial;

  /* One bit a granule of the device. */
  struct bitmap todo;  /* differs, or may differ, from the image */
  struct bitmap marks; /* scratch for takes; at commit: what was read */

  uint64_t device_bytes;
  unsigned granule_shift;
  unsigned restarts;
  bool void_tracking;           /* tracking failed under the hold: start over at the next precommit… */
  bool start_sturdy;            /* …with TRACK_STURDY */
  char track_id[ID_TEXT_BYTES]; /* what the tracking is pinned as, "" if it is not */
  uint64_t rest_bytes;          /* of the last take */

  /* For progress. */
  const char *phase;
  uint64_t phase_bytes;
};

/* Starts tracking and notes all that is allocated as to be copied. device_fd is set. */
int rounds_start(struct clone *c, struct umbra_error *err);

/* Goes on with a kept image and its tracking, both open: notes what was written since as to be copied. */
int rounds_resume(struct clone *c, struct umbra_error *err);

/* Copies what is to be copied, then what changed meanwhile, until little is left or it does not get less. */
int rounds_run(struct clone *c, struct umbra_error *err);

/* Before the hold: flush, catch up, memory for the rest. */
int rounds_prepare_hold(struct clone *c, struct umbra_error *err);

/* Held: reads the rest. -EAGAIN: does not fit, or tracking has to start over. */
int rounds_hold(struct clone *c, struct umbra_error *err);

/* Released: writes out what was read. The image is the volume at the hold. */
int rounds_finish(struct clone *c, struct umbra_error *err);

#endif
