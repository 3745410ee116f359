/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What track.c (starting, taking), pin.c (outliving the process) and device.c (where a device lies) share. */
#ifndef TRACK_INTERNAL_H
#define TRACK_INTERNAL_H

#include "common/error.h"

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "track/track-shared.h"

/* The same program attached several times: see invariant T6 in DESIGN.md. */
enum { TRACK_COPIES_STURDY = 3, TRACK_EVENTS = 2, TRACK_PROGRAMS_MAX = TRACK_COPIES_STURDY * TRACK_EVENTS };

struct track_bpf;

struct track {
  struct track_config config; /* a copy of what the program has */
  uint64_t granules, bytes;
  unsigned granule_shift;

  volatile uint64_t *marks; /* mapped */
  size_t marks_bytes;
  volatile struct track_state *state; /* mapped */
  size_t state_bytes;

  int marks_fd, state_fd, config_fd, bios_fd;
  int link_fds[TRACK_PROGRAMS_MAX], program_fds[TRACK_PROGRAMS_MAX];
  unsigned programs;
  int lock_fd; /* of the pinned directory, -1 */
};

/* device.c */
struct track_place {
  unsigned disk_major, disk_first_minor;
  uint64_t start_sector, sectors; /* of 512 bytes, on the whole disk */
  bool bio_based, zoned;
};
int track_place_find(dev_t device, struct track_place *ret, struct umbra_error *err);
uint64_t track_place_in_flight(dev_t device);

/* track.c */
struct track *track_new(void);                           /* nothing open; NULL: no memory */
int track_map(struct track *t, struct umbra_error *err); /* maps marks and state; config, fds and sizes are set */
uint64_t track_misses(const struct track *t);

#endif
