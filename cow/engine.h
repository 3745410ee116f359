/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy-on-write engine of one attached volume (DESIGN.md).  Fronts call read, write, discard and flush from many threads; the
 * control thread makes and removes shadow copies.  Everything blocks: I/O is synchronous on purpose (E12).
 *
 * Buffers are aligned to COW_BUFFER_ALIGNMENT, offsets and lengths are multiples of 512 and at most COW_COPY_BYTES_MAX long
 * (discard: any length).  All functions return 0 or a negative errno; those without an err are on the I/O path and allocate
 * nothing.
 */
#ifndef COW_ENGINE_H
#define COW_ENGINE_H

#include "common/error.h"
#include "cow/arena.h"
#include "cow/geometry.h"
#include "cow/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cow_engine;

enum cow_full_policy { COW_FULL_DROP_OLDEST, COW_FULL_DROP_NEWEST, COW_FULL_STOP_WRITES };

enum cow_event_kind {
  COW_EVENT_STORAGE_HIGH,    /* over 80 % of its limit */
  COW_EVENT_DROPPED,         /* a shadow copy; why says what for */
  COW_EVENT_RECLAIMED,       /* a deleted shadow copy is gone */
  COW_EVENT_ORIGIN_CHANGED,  /* somebody wrote past the engine: all were dropped */
};
struct cow_event {
  enum cow_event_kind kind;
  char shadow[37];           /* id, or empty */
  char why[256];
};

struct cow_engine_options {
  struct cow_geometry geometry;
  int origin_fd;             /* O_RDWR | O_DIRECT; borrowed */
  struct cow_storage *storage; /* borrowed */
  struct cow_arena *arena;     /* borrowed */
  enum cow_full_policy full_policy;
  /* From whatever thread it happens on; must not block or call the engine. */
  void (*event)(const struct cow_event *event, void *context);
  void *event_context;
};

/*
 * Starts on an arena: a fresh one (all zero; persistent shadow copies and their entries are then taken over from storage) or one that a
 * dead server left (everything is rebuilt from it; a copy half-way is as if it had not begun). Starts the background thread.
 */
int cow_engine_open(const struct cow_engine_options *options, struct cow_engine **ret, struct umbra_error *err);
/* All I/O has ended and no shadow copy is open. Persistent ones stay in storage, volatile ones are gone. NULL is fine. */
void cow_engine_close(struct cow_engine *e);

/* The live volume. */
int cow_engine_read(struct cow_engine *e, void *buffer, size_t length_bytes, uint64_t offset_bytes);
int cow_engine_write(struct cow_engine *e, const void *buffer, size_t length_bytes, uint64_t offset_bytes);
int cow_engine_discard(struct cow_engine *e, uint64_t offset_bytes, uint64_t length_bytes); /* reads as zeros afterwards */
int cow_engine_zero(struct cow_engine *e, uint64_t offset_bytes, uint64_t length_bytes);
int cow_engine_flush(struct cow_engine *e);

/* Making one: begin (long work, allocates) → pause → commit → resume → settle. abort from anywhere. */
struct cow_shadow_options {
  char id[37];
  bool persistent, read_write;
};
int cow_engine_begin(struct cow_engine *e, const struct cow_shadow_options *options, struct umbra_error *err);
void cow_engine_pause(struct cow_engine *e);  /* waits for writes under way; new ones wait */
int cow_engine_commit(struct cow_engine *e, const char *id); /* while paused; O(1), no memory, no I/O */
void cow_engine_resume(struct cow_engine *e);
int cow_engine_settle(struct cow_engine *e, const char *id, struct umbra_error *err); /* durable if persistent; starts learning S */
int cow_engine_abort(struct cow_engine *e, const char *id, struct umbra_error *err);

/* -EBUSY while open, unless force: then readers get EIO. Returns at once; space comes back in the background. */
int cow_engine_delete(struct cow_engine *e, const char *id, bool force, struct umbra_error *err);
int cow_engine_drop_all(struct cow_engine *e, const char *why); /* loudly */
int cow_engine_wait_reclaimed(struct cow_engine *e);            /* until nothing is being freed (tests, detach) */

/* Reading one. A handle keeps it from being deleted, not from being dropped (then -EIO). */
struct cow_shadow;
int cow_shadow_open(struct cow_engine *e, const char *id, bool write, struct cow_shadow **ret, struct umbra_error *err);
void cow_shadow_close(struct cow_shadow *s);
int cow_shadow_read(struct cow_shadow *s, void *buffer, size_t length_bytes, uint64_t offset_bytes);
int cow_shadow_write(struct cow_shadow *s, const void *buffer, size_t length_bytes, uint64_t offset_bytes); /* -EROFS */
/* After auto-recovery: what was written stays, nothing more may be. */
int cow_shadow_seal(struct cow_shadow *s);

/* Inventory, oldest first. */
struct cow_shadow_info {
  char id[37];
  uint32_t number;
  int64_t created_ns;     /* CLOCK_REALTIME of the commit */
  bool persistent, read_write, dropped, deleting;
  unsigned open_count;
  uint64_t storage_bytes; /* slots that only this one needs now */
};
size_t cow_engine_list(struct cow_engine *e, struct cow_shadow_info *info, size_t count_max); /* returns how many there are */

struct cow_engine_status {
  uint64_t storage_used_bytes, storage_bytes, storage_limit_bytes;
  uint64_t writes, chunks_copied, chunks_skipped, chunks_zeroed; /* since the server started */
  uint64_t memory_bytes;
  bool learning;
};
void cow_engine_status(struct cow_engine *e, struct cow_engine_status *ret);

/*
 * What changed between shadow copy `from` and `to` (NULL: now), as runs of chunks in ascending order. from must be older. Runs
 * end at visit() != 0, which is returned. -ESTALE: not known (a crash in between lost it); use all of the volume.
 */
int cow_engine_difference(struct cow_engine *e, const char *from, const char *to,
                          int (*visit)(uint64_t offset_bytes, uint64_t length_bytes, void *context), void *context,
                          struct umbra_error *err);

/*
 * Rolls the live volume back. It must not be mounted (the caller sees to that). Goes through the write path, so that other shadow copies
 * stay valid and running it again after a crash goes on. progress may return != 0 to stop early.
 */
int cow_engine_revert(struct cow_engine *e, const char *id, int (*progress)(uint64_t done_bytes, uint64_t total_bytes, void *),
                      void *context, struct umbra_error *err);

#endif
