/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the engine share. Lock ranks: DESIGN.md.
 */
#ifndef COW_ENGINE_STATE_H
#define COW_ENGINE_STATE_H

#include "cow/engine.h"
#include "cow/free-map.h"
#include "cow/holes.h"
#include "cow/io.h"
#include "cow/map.h"
#include "cow/overlay.h"
#include "cow/shadows.h"

#include <pthread.h>

enum {
  COW_STRIPES = 4096,           /* locks of chunks */
  COW_STRIPE_CHUNKS = 16,       /* neighbours that share one */
  COW_COPY_BYTES_MAX = 1 << 19, /* copied out in one go */
  COW_COPY_CHUNKS_MAX = COW_COPY_BYTES_MAX / COW_CHUNK_BYTES_MIN,
};
_Static_assert((int)COW_COPY_CHUNKS_MAX <= (int)COW_IO_TRANSFERS_MAX &&
                   (int)COW_REQUESTS_MAX <= (int)COW_IO_TRANSFERS_MAX,
               "what is done side by side fits one run");

/* What one caller works with: got at the start, none later. */
struct cow_lane {
  unsigned char *buffer; /* COW_COPY_BYTES_MAX: old data */
  struct cow_io io;
  struct cow_transfer transfers[COW_IO_TRANSFERS_MAX];
  struct cow_range {
    uint64_t first, last; /* chunks */
  } ranges[COW_REQUESTS_MAX];
  /* What is copied out next: chunk i of it is at byte i × chunk_bytes of the buffer. Ascending. */
  uint64_t chunks[COW_COPY_CHUNKS_MAX];
  bool lost[COW_COPY_CHUNKS_MAX]; /* could not be read */
  uint32_t chunk_count;
  /* What is left out next (E18): runs of chunks that have their numbers, and are not published. */
  struct cow_stored left[COW_COPY_CHUNKS_MAX];
  uint64_t left_chunks[COW_COPY_CHUNKS_MAX];
  size_t left_count;
  uint32_t left_chunk_count;
  uint64_t stripes[COW_STRIPES / 64]; /* held */
};

struct cow_shadow {
  struct cow_engine *engine;
  struct cow_arena_shadow *entry;
  size_t index;
  uint32_t number; /* at the time of opening */
  bool looks;      /* of the engine itself: does not keep it from being deleted, and sees no overlay */
};

/* Who needs entries, as of one moment. */
struct cow_needing {
  uint32_t upto; /* entries of later epochs are not judged: who needs them may not be in the list */
  uint32_t numbers[COW_SHADOWS_MAX];
  size_t count;
};

struct cow_engine {
  /* Configuration. */
  struct cow_geometry geometry;
  int origin_fd;
  struct cow_storage *storage;
  struct cow_arena *arena;
  struct cow_ledger *ledger;
  struct cow_extents *extents; /* the arena's, if storage is to be inside the volume; else NULL */
  enum cow_full_policy full_policy;
  void (*event)(const struct cow_event *event, void *context);
  void *event_context;
  cow_free_space_fn free_space;

  pthread_mutex_t control;              /* rank 1: begin, commit, abort */
  pthread_rwlock_t epoch;               /* rank 2 */
  pthread_mutex_t stripes[COW_STRIPES]; /* rank 3 */
  pthread_mutex_t reclaim;              /* rank 4: one frees at a time, and open counts */
  pthread_rwlock_t map_lock;            /* rank 7 */
  struct cow_map map;
  struct cow_holes holes;
  struct cow_overlay overlay;
  struct cow_free_map free_map;

  _Atomic uint32_t live_count;
  _Atomic uint32_t kept_count;           /* of these, those that outlive the run */
  _Atomic uint32_t newest_live;          /* number, 0: none */
  _Atomic uint32_t kept_number;          /* a revert needs it: not dropped for room. 0: none */
  unsigned open_counts[COW_SHADOWS_MAX]; /* under reclaim */
  bool looked_at[COW_SHADOWS_MAX];       /* under reclaim: its place stays, but it may be deleted */
  unsigned char *buffers;                /* of the lanes */
  struct cow_lane *lanes;
  unsigned lane_count;
  unsigned free_lanes[COW_LANES_MAX], free_lane_count;
  pthread_mutex_t lanes_lock; /* a leaf */
  pthread_cond_t lane_free;

  pthread_t reclaimer;
  bool reclaimer_started, ending, reclaim_wanted; /* under reclaim */
  pthread_cond_t reclaim_change;
  _Atomic uint64_t reclaim_passes;

  _Atomic uint64_t chunks_copied, chunks_left_out, bytes_written;
  atomic_bool warned;
};

static inline uint32_t cow_epoch_now(const struct cow_engine *e) {
  return (uint32_t)(atomic_load_explicit(&e->arena->header->instant, memory_order_acquire) >> 1);
}
/* P of the present epoch. */
static inline _Atomic uint64_t *cow_covered(const struct cow_engine *e) {
  uint64_t instant = atomic_load_explicit(&e->arena->header->instant, memory_order_acquire);
  return e->arena->at[COW_REGION_COVERED_A + (instant & 1)];
}
static inline bool cow_is_covered(const _Atomic uint64_t *p, uint64_t chunk) {
  return atomic_load_explicit(&p[chunk / 64], memory_order_acquire) >> (chunk % 64) & 1;
}

/*
 * cover.c: afterwards P has the chunks of the first count of lane->ranges (which it reorders), or no shadow copy
 * needs them. -ENOSPC: not all of them, and writes are to stop. Called with epoch held shared.
 */
int cow_cover(struct cow_engine *e, struct cow_lane *lane, size_t count);

/*
 * inside.c: called with epoch held shared, before a write or discard reaches the origin. One that reaches into
 * storage ends that first (E22); the epoch is let go and taken again for it.
 */
void cow_heed_write(struct cow_engine *e, uint64_t offset_bytes, uint64_t length_bytes);
/* Writes may have passed, or will: nothing is stored in its ranges until the filesystem has been asked again (E24). */
void cow_doubt_storage(struct cow_engine *e);
/* What of [offset, offset + length) is storage becomes zeros in the buffer. */
void cow_mask_storage(const struct cow_engine *e, unsigned char *buffer, uint64_t offset_bytes,
                      uint64_t length_bytes);

/* keep.c */
/* Between "slots written" and "published": E13. epoch held shared. */
int cow_keep_stored(struct cow_engine *e, const struct cow_stored *stored, size_t count);
/* Before a kept one is no longer live; under reclaim. Not durable: an error, and the ledger takes nothing any more.
 */
int cow_keep_record(struct cow_engine *e, const struct cow_arena_shadow *s, enum cow_disk_state state);
/* Around what writes to the origin: the witness. Must be called as a pair. */
bool cow_keep_before_writes(struct cow_engine *e, const struct cow_witness_write *writes, size_t count);
/* A part of what slots in a row hold: -EIO if it is not what was stored. */
int cow_keep_read(struct cow_engine *e, uint32_t slot, uint64_t offset_bytes, void *buffer, size_t length_bytes);

/* shadow-read.c */
/* cow_shadow_read() of a range that is one, by who holds the overlays' lock or need not (storage elsewhere). */
int cow_shadow_read_range(struct cow_shadow *s, void *buffer, size_t length_bytes, uint64_t offset_bytes);
bool cow_shadow_in_range(const struct cow_shadow *s, size_t length_bytes, uint64_t offset_bytes);
uint32_t cow_shadow_number(const struct cow_shadow *s);
/* How many of count chunks from chunk on are alike, and whether they are holes: free at the instant, written since.
 */
uint64_t cow_shadow_run(const struct cow_shadow *s, uint64_t chunk, uint64_t count, bool *ret_hole);
/*
 * The one of the present epoch, if it is live and was held; -ENOENT otherwise. It may be deleted while it is open:
 * reads are -EIO then. *ret_older: number of the live one before it, 0 if there is none.
 */
int cow_shadow_open_held(struct cow_engine *e, struct cow_shadow **ret, uint32_t *ret_older);

/* reclaim.c */
/* After somebody who was live is not any more; under reclaim. */
void cow_note_live(struct cow_engine *e);
int cow_reclaim_start(struct cow_engine *e, struct umbra_error *err);
void cow_reclaim_stop(struct cow_engine *e);
void cow_reclaim_wake(struct cow_engine *e);
/*
 * Somebody found no room when reclaim_passes was `passes`: true if trying again is worth it. Looks for what is not
 * needed only if something was deleted or dropped: writes to the volume wait for such a look.
 */
bool cow_reclaim_now(struct cow_engine *e, uint64_t passes);
/* Drops shadow copies by the policy until a slot is free or nobody is left. 0, or -ENOSPC: writes are to stop. */
int cow_make_room(struct cow_engine *e);
/* Drops the live ones with a number > after: what they need cannot be kept. */
void cow_drop_after(struct cow_engine *e, uint32_t after, const char *why);

/* check.c: ends the program when an invariant does not hold. Call it with no lock held; for debug builds, since
 * writes stand still for it. */
#ifdef COW_ENGINE_ASSERT
void engine_assert(struct cow_engine *e);
#else
static inline void engine_assert(struct cow_engine *e) { (void)e; }
#endif

void cow_engine_tell(struct cow_engine *e, enum cow_event_kind kind, const char *shadow, const char *why);

#endif
