/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How providers and commands speak with the server of an attached volume: one JSON object a message over a Unix socket of type SEQPACKET
 * (ATTACHED/NAME/control in the runtime directory, mode 0600; the supervisor keeps it, so it outlives servers).
 *
 *     {"do": VERB, …}  →  {"ok": true, …}  or  {"error": {"code": -28, "reason": "storage-full", "message": "…"}}
 *
 * | verb | takes | gives |
 * | begin | id, persistent, read_write | |
 * | commit | id | hold_ns: how long writes stood still. pause, commit and resume in one; no memory, no I/O |
 * | settle | id | storage_bytes |
 * | abort | id | |
 * | expose | id | path: the shadow copy as a file of the volume's size (a loop device goes over it), stays until conceal |
 * | conceal | id | |
 * | seal | id | |
 * | delete | id, force | |
 * | list | | shadows: [{id, number, created_ns, persistent, read_write, dropped, deleting, open, storage_bytes}] |
 * | status | | name, origin, device, front, pid, storage {used_bytes, bytes, limit_bytes, over_warning}, counters |
 * | diff | from, to or null | ranges: [[offset_bytes, length_bytes], …], more: true with next_bytes; takes start_bytes |
 * | revert | id | done in parts: {done_bytes, total_bytes} until equal |
 * | grow | limit_bytes | |
 * | events | since | events: [{sequence, kind, shadow, why, time_ns}] the last COW_EVENTS_KEPT of them |
 * | upgrade | | the supervisor starts the program anew; the live volume notices a pause |
 * | detach | force | everything ends; -EBUSY while mounted or open |
 *
 * Whatever a connection began and did not settle is aborted when it closes.
 */
#ifndef COW_SERVE_PROTOCOL_H
#define COW_SERVE_PROTOCOL_H

#include "common/error.h"

#include <jansson.h>

enum { COW_MESSAGE_BYTES_MAX = 64 * 1024, COW_CONNECTIONS_MAX = 64, COW_EVENTS_KEPT = 256, COW_NAME_BYTES_MAX = 64 };

/* Connects to NAME's server. -ENOENT: not attached. */
int cow_client_connect(const char *runtime_dir, const char *name, int *ret_fd, struct umbra_error *err);

/* One call; the server's error becomes *err. *ret (may be NULL) is the caller's. Blocks up to timeout_ms. */
int cow_client_call(int fd, const json_t *request, unsigned timeout_ms, json_t **ret, struct umbra_error *err);

/* The commit of the hold: both messages were made before; allocates nothing. */
int cow_client_commit(int fd, const char *id, unsigned timeout_ms);

/* The attached volume that device number major:minor is, by ATTACHED/NAME/attached.json. -ENOENT if none. */
struct cow_attached {
  char name[COW_NAME_BYTES_MAX];
  char origin[256], device[64], front[16], storage[512];
  int supervisor_pid;
};
int cow_attached_find(const char *runtime_dir, unsigned major, unsigned minor, struct cow_attached *ret, struct umbra_error *err);
int cow_attached_list(const char *runtime_dir, int (*visit)(const struct cow_attached *, void *), void *context,
                      struct umbra_error *err);

#endif
