/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What of an engine outlives its server (DESIGN.md, E12): memory files whose descriptors the supervisor keeps and
 * hands to the next server.  Sparse: a page counts from its first use.
 */
#ifndef COW_ARENA_H
#define COW_ARENA_H

#include "common/error.h"
#include "cow/extents.h"
#include "cow/geometry.h"

#include <stdatomic.h>
#include <stdint.h>

enum cow_region {
  COW_REGION_HEADER,    /* struct cow_arena_header */
  COW_REGION_KEYS,      /* an atomic 64-bit key a slot: those of storage, then those of holes (E18) */
  COW_REGION_COVERED_A, /* P: one bit a chunk; A and B take turns, see cow_arena_header.instant */
  COW_REGION_COVERED_B,
  COW_REGION_OVERLAYS, /* an atomic 64-bit key a slot of storage: chunk and number of the shadow copy whose overlay it
                          is of (E19) */
  COW_REGION_SUMS, /* persistent storage: the data's checksum, 32 bits a slot or hole; 0: it has no cell that counts
                    */
  COW_REGION_EXTENTS, /* struct cow_extents: where storage inside the volume is */
  COW_REGIONS,
};

enum cow_shadow_state {
  COW_SHADOW_FREE,
  COW_SHADOW_BEGUN,
  COW_SHADOW_LIVE,
  COW_SHADOW_DROPPED,
  COW_SHADOW_DELETING,
  COW_SHADOW_STATES,
};

/* Whether it outlives the machine's run (E15). */
enum cow_kept { COW_KEPT_NOT, COW_KEPT_WANTED, COW_KEPT_RECORDED };

/* One shadow copy. The state is stored last when it begins to mean something, first when it ceases to. */
struct cow_arena_shadow {
  char id[37];
  char why[91]; /* dropped: what for */
  _Atomic uint32_t state;
  uint32_t number;
  uint32_t held; /* the volume was held at the instant: what is free may be learned from it (E18) */
  int64_t created_ns;
  _Atomic uint32_t kept; /* enum cow_kept */
  atomic_bool writable;  /* its overlay takes writes (E19) */
};

struct cow_arena_header {
  uint64_t magic, volume_bytes;
  uint32_t chunk_bytes, slots_max;
  uint32_t holes_max; /* slots after these, without storage */
  /*
   * The present epoch and which region is its P, in one word: number << 1 | region. This store is the instant:
   * whoever is BEGUN with this number is live.
   */
  _Atomic uint64_t instant;
  uint32_t next_number;
  /* Persistent storage: flushes begun and ended (E14), and whether one failed: then it takes nothing any more. */
  _Atomic uint64_t generation, durable;
  atomic_bool ledger_failed;
  struct cow_arena_shadow shadows[COW_SHADOWS_MAX];
};

struct cow_arena {
  int fds[COW_REGIONS];  /* owned */
  void *at[COW_REGIONS]; /* mapped shared */
  uint64_t bytes[COW_REGIONS];
  struct cow_arena_header *header; /* = at[COW_REGION_HEADER] */
  _Atomic uint64_t *keys;          /* = at[COW_REGION_KEYS] */
  _Atomic uint64_t *overlays;      /* = at[COW_REGION_OVERLAYS] */
  _Atomic uint32_t *sums;          /* = at[COW_REGION_SUMS] */
  struct cow_extents *extents;     /* = at[COW_REGION_EXTENTS] */
};

/* New: no shadow copies, no keys. No more than holes_max holes, nor than the volume has chunks, if numbers suffice.
 * -EINVAL for a geometry that is none. */
int cow_arena_create(struct cow_arena *a, const struct cow_geometry *g, uint32_t slots_max, uint32_t holes_max,
                     struct umbra_error *err);

/* From the descriptors of another process, which it takes, also on failure. Sizes and header are checked: -EUCLEAN.
 */
int cow_arena_adopt(struct cow_arena *a, const int fds[COW_REGIONS], struct umbra_error *err);

/* Unmaps and closes. What another process holds stays. Fine on a zeroed one. */
void cow_arena_done(struct cow_arena *a);

/* Calls for each key that is not 0, reading only the pages that are in use. Ends at visit() != 0, which is returned.
 */
int cow_arena_visit_keys(const struct cow_arena *a, int (*visit)(uint32_t slot, uint64_t key, void *context),
                         void *context);
/* The same for the keys of overlays. */
int cow_arena_visit_overlays(const struct cow_arena *a, int (*visit)(uint32_t slot, uint64_t key, void *context),
                             void *context);

/* For slots that have a sum and no key: a server died between the two, or while it freed one. */
int cow_arena_visit_unpublished(const struct cow_arena *a, int (*visit)(uint32_t slot, void *context), void *context);

/* The same for each bit that is set in one of the two regions of P. */
int cow_arena_visit_covered(const struct cow_arena *a, enum cow_region region,
                            int (*visit)(uint64_t chunk, void *context), void *context);

/* Zeroes a region by giving its pages back. */
int cow_arena_clear(struct cow_arena *a, enum cow_region region, struct umbra_error *err);

uint64_t cow_arena_memory_bytes(const struct cow_arena *a); /* pages in use, by fstat */

#endif
