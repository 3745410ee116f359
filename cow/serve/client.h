/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How providers and commands speak with the server of an attached volume: one JSON object a message over a Unix
 * socket of type SEQPACKET, RUNTIME/attached/NAME/control, mode 0600; it outlives servers.
 *
 *     {"do": VERB, …}  →  {"ok": true, …}  or  {"error": {"code": -28, "reason": 8, "message": "…"}}
 *
 *   begin   id, keep (it is to outlive the machine's run), writable (until it is sealed; not both)
 *   commit  id, held               the instant: no memory, no I/O. held: the filesystem is frozen
 *   abort   id
 *   settle  id                     of one to keep, after commit: now it does. Again, if no answer came
 *   seal    id                     writes to it end; what was written stays
 *   ranges  ranges              →  certain: of storage inside the volume, after begin, and again until certain, each
 *                                  time as the filesystem says it then: [[offset_bytes, length_bytes], …],
 *                                  ascending. Others than before: all shadow copies are dropped, error -ESTALE.
 *                                  Without it no commit
 *   delete  id, force
 *   list    after (a number)    →  shadows: [{id, number, created_ns, state, why, open, persistent, writable}],
 *                                  at most COW_LIST_MAX; more
 *   status                      →  name, origin, device, front, front_why, front_device, storage, pid,
 *                                  supervisor_pid, servers, chunk_bytes, volume_bytes, used_bytes, limit_bytes,
 *                                  over_warning, chunks_copied, chunks_left_out, free_known, bytes_written,
 *                                  memory_bytes, shadows (live ones), kept (of these), dropped (how many),
 *                                  shadows_max, persistent (is the storage), overlay_bytes (of what is used:
 *                                  written to shadow copies), inside (is the storage), has_ranges (was it told
 *                                  which), wanted_bytes (its limit),
 *                                  replaceable (the server, with I/O under way)
 *   diff    from, to or null,   →  ranges: [[offset_bytes, length_bytes], …], at most COW_RANGES_MAX; more
 *           start_bytes
 *   revert  id                  →  bytes
 *   events  since               →  events: [{sequence, kind, shadow, why}], the last COW_EVENTS_KEPT of them
 *
 * What a connection began and did not commit is aborted when it closes.
 */
#ifndef COW_SERVE_CLIENT_H
#define COW_SERVE_CLIENT_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

enum {
  COW_MESSAGE_BYTES_MAX = 64 * 1024,
  COW_CONNECTIONS_MAX = 64,
  COW_LIST_MAX = 64,
  COW_RANGES_MAX = 1024,
  COW_EVENTS_KEPT = 256,
};

/*
 * The directory (RUNTIME/attached/NAME) of the attached volume that this block device is: directory/device leads to
 * it. Caller frees. -ENODEV: it is none.
 */
int cow_attached_directory(dev_t device, char **ret, struct umbra_error *err);

/* Connects to the server of the attached volume with this directory. -ENOENT: there is none any more. */
int cow_client_connect(const char *directory, int *ret_fd, struct umbra_error *err);

/* One call. The request is taken. The server's error becomes *err. *ret (may be NULL) is the caller's. -ETIMEDOUT. */
int cow_client_call(int fd, json_t *request, int timeout_ms, json_t **ret, struct umbra_error *err);

/* Takes a request back: the server hears that nobody waits for it; returns when it has stopped, or after timeout_ms.
 */
void cow_client_hang_up(int fd, int timeout_ms);

/* The commit of a hold: allocates nothing. held: the filesystem on the volume is frozen now. */
int cow_client_commit(int fd, const char *id, bool held, int timeout_ms);

/*
 * All shadow copies that the volume with this directory has, by id: {id: {"state", "why", …}} as `list` gives them.
 * *ret is the caller's. -ENOENT: it is attached no more. -ETIMEDOUT and others: its server does not answer.
 */
int cow_client_list(const char *directory, json_t **ret, struct umbra_error *err);

/*
 * What people want to know of the attached volume that this block device is:
 *   {"name", "origin", "storage", "shadows", "dropped", "shadows_max", "used_bytes", "limit_bytes", "over_warning",
 * "way", "why": null} or, of one that cannot be asked, {"name", "why": "…"}. NULL: it is none, or there is no memory.
 * The caller's. Waits for the server.
 */
json_t *cow_client_describe(dev_t device);

/* The volumes that are attached, in no order. visit(): directory and what `status` gives; != 0 ends and is returned.
 * Dead ones are left out. */
int cow_client_visit(const char *runtime_dir,
                     int (*visit)(const char *directory, const json_t *status, void *context), void *context,
                     struct umbra_error *err);

#endif
