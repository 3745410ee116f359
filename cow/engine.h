/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy-on-write engine of one attached volume (DESIGN.md).  Fronts call read, write, discard and flush from many
 * threads; one control thread makes and removes shadow copies.  Everything blocks (E12).
 *
 * Buffers are aligned to COW_BUFFER_ALIGNMENT, offsets and lengths are multiples of 512 and at
 * most COW_REQUEST_BYTES_MAX long (discard and zero: any length); -EINVAL otherwise. All functions return 0 or a
 * negative errno; those without an err are on the I/O path and allocate nothing.
 */
#ifndef COW_ENGINE_H
#define COW_ENGINE_H

#include "common/error.h"
#include "cow/arena.h"
#include "cow/free-space/free-space.h"
#include "cow/geometry.h"
#include "cow/ledger.h"
#include "cow/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cow_engine;

enum cow_full_policy { COW_FULL_DROP_OLDEST, COW_FULL_DROP_NEWEST, COW_FULL_STOP_WRITES };

enum cow_event_kind {
  COW_EVENT_STORAGE_HIGH, /* COW_STORAGE_WARN_PERCENT of the limit are used */
  COW_EVENT_DROPPED,      /* a shadow copy; why says what for */
  COW_EVENT_NOT_WRITTEN,  /* a write to a shadow copy failed for want of room */
};
struct cow_event {
  enum cow_event_kind kind;
  char shadow[37]; /* id, or empty */
  char why[91];
};

enum { COW_LANES_MAX = 32 };

/* As free_space_visit(). */
typedef int (*cow_free_space_fn)(const struct free_space_source *source, free_space_visit_fn visit,
                                 void *visit_context, struct umbra_error *err);

struct cow_engine_options {
  int origin_fd;               /* O_RDWR | O_DIRECT; borrowed */
  struct cow_storage *storage; /* borrowed */
  struct cow_arena *arena;     /* borrowed; new, or left by a server that died */
  struct cow_ledger *ledger;   /* borrowed; NULL: the storage is not persistent */
  bool inside;                 /* storage is in ranges of the origin, once they are given: arena->extents */
  enum cow_full_policy full_policy;
  unsigned lanes; /* callers served at a time, others wait: 1 to COW_LANES_MAX */
  /* From whatever thread it happens on, with locks held: must not block, nor call the engine. May be NULL. */
  void (*event)(const struct cow_event *event, void *context);
  void *event_context;
  /* Says what a shadow copy had free, so that it is not copied (E18). NULL: all is. */
  cow_free_space_fn free_space;
};

/*
 * Builds what is not in the arena (entries by chunk, P's bits of entries, what storage has in use) and goes on where
 * the last server was: a copy half-way is as if it had not begun. Starts the thread that frees what is not needed.
 */
int cow_engine_open(const struct cow_engine_options *options, struct cow_engine **ret, struct umbra_error *err);
/* No call is under way, no shadow copy open. The arena keeps everything. NULL is fine. */
void cow_engine_close(struct cow_engine *e);

const struct cow_geometry *cow_engine_geometry(const struct cow_engine *e);

/*
 * The live volume. Requests that are there at the same time go together: side by side to the disk, in no order, and
 * what they overwrite is copied out in one go.
 */
enum { COW_REQUESTS_MAX = 64 };
struct cow_request {
  bool write;
  void *buffer;
  size_t length_bytes;
  uint64_t offset_bytes;
  int result;
};
void cow_engine_run(struct cow_engine *e, struct cow_request *requests, size_t count); /* 1 to COW_REQUESTS_MAX */
/* One alone. */
int cow_engine_read(struct cow_engine *e, void *buffer, size_t length_bytes, uint64_t offset_bytes);
int cow_engine_write(struct cow_engine *e, const void *buffer, size_t length_bytes, uint64_t offset_bytes);
int cow_engine_zero(struct cow_engine *e, uint64_t offset_bytes,
                    uint64_t length_bytes); /* also a discard: reads as zeros */
int cow_engine_flush(struct cow_engine *e);

/*
 * Storage inside the volume (E21 to E25): a file's ranges, which its filesystem keeps as they are, never reads and
 * never writes. Where there are none these are taken, and watched; nothing is stored there until the same ones come once
 * more, found by asking the filesystem after that (*ret_certain). So before each shadow copy, after its begin. With
 * others all shadow copies are dropped, and it is -ESTALE: the next call takes new ones. -EOPNOTSUPP: it lies elsewhere.
 */
int cow_engine_use_ranges(struct cow_engine *e, const struct cow_extent_range *ranges, size_t count,
                          bool *ret_certain, struct umbra_error *err);

/*
 * Making one: begin (memory, a place in the table) → commit → settle; abort before commit. One at a time, -EBUSY.
 * commit is the instant: writes under way end before it, new ones wait for it; no memory, no I/O of its own. held:
 * the filesystem is frozen, so that the shadow copy's structures are whole and say what is free; what is free is then
 * not copied, and reads of it give its content or zeros.
 */
int cow_engine_begin(struct cow_engine *e, const char *id, struct umbra_error *err);
int cow_engine_commit(struct cow_engine *e, const char *id, bool held);
int cow_engine_abort(struct cow_engine *e, const char *id, struct umbra_error *err);

/*
 * One that outlives the machine's run (E13 to E17): keep between begin and commit, -EOPNOTSUPP without a ledger;
 * settle after commit, again if it is not known whether it was done: only then a crash leaves it. -EIO: it was
 * dropped.
 */
int cow_engine_keep(struct cow_engine *e, const char *id, struct umbra_error *err);
int cow_engine_settle(struct cow_engine *e, const char *id, struct umbra_error *err);

/*
 * One that can be written to (E19): between begin and commit, not together with keep. Until it is sealed: later
 * writes are -EROFS, what was written stays.
 */
int cow_engine_make_writable(struct cow_engine *e, const char *id, struct umbra_error *err);
int cow_engine_seal(struct cow_engine *e, const char *id, struct umbra_error *err);

/*
 * True: no shadow copy is begun or live, and until the next begin the volume may be written to without the engine
 * (DESIGN.md, M2). Who writes so must have ended before that begin. Ranges of storage inside the volume are to be
 * confirmed after it.
 */
bool cow_engine_rest(struct cow_engine *e);

/* -EBUSY while open, unless force: readers then get EIO. Space comes back in the background. */
int cow_engine_delete(struct cow_engine *e, const char *id, bool force, struct umbra_error *err);
/* All live ones, each with an event. */
void cow_engine_drop_all(struct cow_engine *e, const char *why);
/* Until nothing waits to be freed. */
void cow_engine_wait_reclaimed(struct cow_engine *e);
/* Until it is known what the newest one had free, or that this cannot be known. */
void cow_engine_wait_free_known(struct cow_engine *e);

/* Reading one. A handle keeps it from being deleted, not from being dropped: then -EIO. Buffers as for the live
 * volume. */
struct cow_shadow;
int cow_shadow_open(struct cow_engine *e, const char *id, struct cow_shadow **ret, struct umbra_error *err);
void cow_shadow_close(struct cow_shadow *s);
int cow_shadow_read(struct cow_shadow *s, void *buffer, size_t length_bytes, uint64_t offset_bytes);
/*
 * Seen by readers of this shadow copy alone. -EROFS: it is not writable, or sealed. -ENOSPC: no room, which nobody is
 * dropped for. Of an error, a part may be written.
 */
int cow_shadow_write(struct cow_shadow *s, const void *buffer, size_t length_bytes, uint64_t offset_bytes);
bool cow_shadow_writable(const struct cow_shadow *s);

struct cow_shadow_info {
  char id[37];
  char why[91]; /* dropped: what for */
  uint32_t number;
  int64_t created_ns; /* realtime, of the commit */
  bool kept;          /* outlives the machine's run */
  bool writable;
  enum cow_shadow_state state;
  unsigned open_count;
};
/* Oldest first; returns how many there are, of which count_max are filled in. */
size_t cow_engine_list(struct cow_engine *e, struct cow_shadow_info *info, size_t count_max);

struct cow_engine_status {
  uint64_t chunks_copied, bytes_written; /* since the server started; what failed is not counted */
  uint64_t chunks_left_out;              /* written, not copied: free in the newest shadow copy */
  bool free_known;                       /* of the newest shadow copy: what it had free */
  uint64_t memory_bytes;
  uint32_t shadows;       /* live ones */
  uint32_t kept;          /* of these, those that outlive the run */
  uint64_t overlay_bytes; /* of what storage has in use: written to shadow copies */
  bool has_ranges;        /* storage inside the volume: it has been told where; see cow_engine_use_ranges() */
  struct cow_storage_status storage;
};
void cow_engine_status(struct cow_engine *e, struct cow_engine_status *ret);

/*
 * What differs between shadow copies from and to (NULL: now), exact to the chunk, as ascending runs; what was written
 * to one of them differs. from must be
 * older and stays open as long. Ends at visit() != 0, which is returned.
 */
int cow_engine_difference(struct cow_engine *e, const char *from, const char *to,
                          int (*visit)(uint64_t offset_bytes, uint64_t length_bytes, void *context), void *context,
                          struct umbra_error *err);

/*
 * Makes the live volume what the shadow copy is, with what was written to it. Nobody may use it meanwhile (the caller
 * sees to that), and one does so at a time (-EBUSY). Goes through the write path: other shadow copies stay valid, and
 * doing it again after a crash goes on. go_on (may be NULL) is asked before each piece of at most
 * COW_REQUEST_BYTES_MAX; false ends it with -ECANCELED. *ret_bytes (may be NULL): how much was put back.
 */
int cow_engine_revert(struct cow_engine *e, const char *id, bool (*go_on)(void *context), void *context,
                      uint64_t *ret_bytes, struct umbra_error *err);

/*
 * NULL if every invariant of DESIGN.md holds that memory alone can tell (check.c), else which does not. For tests and
 * debug builds: stops the world, and takes as long as there are entries.
 */
const char *cow_engine_check(struct cow_engine *e);

#endif
