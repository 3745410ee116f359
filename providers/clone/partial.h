/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A clone of only what some paths of the volume need (scope.h): a plan made on the live device, and after the hold
 * the proof, on the image, that nothing is missing.
 */
#ifndef PROVIDERS_CLONE_PARTIAL_H
#define PROVIDERS_CLONE_PARTIAL_H

#include "common/bitmap.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct clone;

enum {
  PARTIAL_ATTEMPTS_MAX = 2, /* after that many the whole volume is copied */
  PARTIAL_PLANS_MAX = 3,    /* walks of the live device */
  PARTIAL_BOUNCE_BYTES = 1024 * 1024,
};

struct partial {
  bool on;
  char **paths;         /* from the root of the filesystem */
  struct bitmap wanted; /* what the last walk named */
  struct bitmap copied; /* whose content is in the image */
  unsigned char *bounce;
};

/* Decides whether this clone is one of paths only; sets on and paths. */
int partial_open(struct clone *c, struct umbra_error *err);
void partial_done(struct partial *p);

/*
 * Walks the live device: sets in *todo what the paths need and the image lacks, *ret_new how many granules. If that
 * cannot be told, on becomes false and nothing is set: the whole volume is to be copied.
 */
int partial_plan(struct clone *c, struct bitmap *todo, uint64_t *ret_new, struct umbra_error *err);

void partial_note_copied(struct clone *c, const struct bitmap *granules);

/*
 * After the hold, with the last round written out and no marks taken since: walks the image and fetches what is
 * missing from the live device, where that is still as it was at the hold. -EAGAIN: it is not, another hold is
 * needed.
 */
int partial_complete(struct clone *c, struct umbra_error *err);

#endif
