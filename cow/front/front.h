/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What makes an engine a block device: FUSE file under a loop device (fuse.c), or ublk (ublk.c).  Each is one `const struct cow_front`.
 *
 * A front lives in two processes.  The supervisor establishes the transport and keeps its descriptors, so that it outlives servers; a server
 * serves it.  The next server continues where the killed one was: requests that it had not answered are seen again.
 */
#ifndef COW_FRONT_FRONT_H
#define COW_FRONT_FRONT_H

#include "common/error.h"
#include "cow/engine.h"

enum { COW_FRONT_FDS_MAX = 4, COW_FRONT_THREADS_DEFAULT = 32, COW_FRONT_THREADS_MAX = 128 };

/* What the supervisor keeps and a server is given. */
struct cow_front_seat {
  const char *name;           /* of the attached volume */
  const char *directory;      /* private, of this volume, in the runtime directory; exists */
  uint64_t volume_bytes;
  uint32_t logical_block_bytes; /* the origin's */
  unsigned threads;
  int fds[COW_FRONT_FDS_MAX]; /* -1: none; inherited by servers under the same numbers */
  char device[64];            /* the live volume's block device, once published */
  bool established, served_before; /* served_before: this server takes over from one that ended */
};

struct cow_front {
  const char *name, *summary;
  int (*can)(struct umbra_error *why);
  /* Supervisor: transport made, nothing served yet. */
  int (*establish)(struct cow_front_seat *seat, struct umbra_error *err);
  /* Server: begins to serve on threads of its own and returns. stop: no request is under way when it returns. */
  int (*serve)(struct cow_front_seat *seat, struct cow_engine *engine, void **ret_state, struct umbra_error *err);
  void (*stop)(void *state);
  /* Supervisor, once a server serves: the block device appears; its path in seat->device. */
  int (*publish)(struct cow_front_seat *seat, struct umbra_error *err);
  /* Supervisor: -EBUSY while the device is in use. Otherwise everything establish and publish made is gone. Idempotent. */
  int (*remove)(struct cow_front_seat *seat, struct umbra_error *err);
};

extern const struct cow_front cow_front_fuse;
extern const struct cow_front cow_front_ublk;

#endif
