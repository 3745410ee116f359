/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which granules of a block device were written since one last looked.  A BPF program in the kernel sets the bits
 * itself (track.bpf.c), in memory that is mapped here: nothing is queued, so nothing can be dropped.  DESIGN.md has
 * the invariants.
 *
 * Needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN for pinning) and a kernel with BTF, 5.17 or later.  Not
 * thread-safe, except that different trackings are independent.
 */
#ifndef TRACK_TRACK_H
#define TRACK_TRACK_H

#include "common/bitmap.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
  TRACK_BITMAP_BYTES_MAX = 8 * 1024 * 1024, /* kernel memory for the marks; the granule grows to fit */
  TRACK_GRANULE_SHIFT_MIN = 12,
  TRACK_START_WAIT_MS_MAX = 2000, /* for what was in flight when a device without requests began to be tracked */
};

enum {
  TRACK_STURDY = 1, /* see track_take() */
  /*
   * Plain discards are not marked: for who follows a filesystem, which discards only what is free and never relies on
   * what a discard leaves behind.  Zeroing and secure erasure always are.
   */
  TRACK_WITHOUT_DISCARDS = 2,
};

struct track;

/* Can this machine and this device be tracked? 0, or negative with the reason. Loads the program, attaches nothing.
 */
int track_possible(dev_t device, struct umbra_error *why);

/*
 * Starts tracking the device behind device_fd (a block device open O_RDONLY | O_DIRECT; only used during the call).
 * When it returns, marks are being made: proven by a read of its own seen at both tracepoints.  flags: TRACK_*. The
 * caller ends it with track_stop().
 */
int track_start(int device_fd, unsigned flags, struct track **ret, struct umbra_error *err);

/* Ends it; nothing stays in the kernel unless it was pinned. NULL is fine. Returns NULL. */
struct track *track_stop(struct track *t);

unsigned track_granule_shift(const struct track *t);
uint64_t track_granules(const struct track *t); /* the device's, the last one may be short */
uint64_t track_bytes(const struct track *t);    /* the device's size when tracking started */

/*
 * Moves the marks into *marks (adds to what is set there; track_granules() bits).  Allocates nothing, may be called
 * while volumes are held.  Every write that had been completed, or was under way, when this was called is in one of
 * the takes so far, or will be in the next.  -ESTALE: something may have gone unseen since tracking started, whatever
 * was read under it is void: stop it, start again, with TRACK_STURDY if *ret_sturdy says so (may be NULL).
 */
int track_take(struct track *t, struct bitmap *marks, bool *ret_sturdy, struct umbra_error *err);

/* As track_take(), but only looks: 0 if all is well with the tracking, -ESTALE. */
int track_check(struct track *t, bool *ret_sturdy, struct umbra_error *err);

uint64_t track_count(const struct track *t);                /* marks not yet taken */
bool track_marked(const struct track *t, uint64_t granule); /* one of them */

/*
 * Tracking that outlives the process: programs and maps stay in bpffs under id (common/id.h) until track_unpin() or
 * reboot.  Marks go on being made.  track_generation() names the tracking; track_open_pinned() gives it back only if
 * device, generation and layout are the same (-ENOENT not there, -ESTALE another). While it is open nobody else can
 * open it (-EBUSY).
 */
uint64_t track_generation(const struct track *t);
int track_pin(struct track *t, const char *id, struct umbra_error *err);
int track_open_pinned(const char *id, uint64_t generation, int device_fd, struct track **ret,
                      struct umbra_error *err);
int track_unpin(const char *id, struct umbra_error *err); /* not there: 0 */

/*
 * Says which file a pinned tracking is there for (absolute path, replaces what was said before). track_collect() ends
 * every pinned tracking that nobody has open and whose file is gone.
 */
int track_pin_for(const char *id, const char *path, struct umbra_error *err);
void track_collect(void);

#endif
