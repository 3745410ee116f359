/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The supervisor of one attached volume: keeps the front's descriptors, the arena, the origin, the storage and the control socket, starts a
 * server, and starts another when it ends, after its last thread has ended (pidfd).  Holds no policy and does no I/O of the volume.
 */
#ifndef COW_SERVE_SUPERVISOR_H
#define COW_SERVE_SUPERVISOR_H

#include "common/error.h"
#include "cow/engine.h"

struct cow_attach_options {
  const char *name;         /* [a-z0-9][a-z0-9._-]*, shorter than COW_NAME_BYTES_MAX */
  const char *device;       /* the origin: block device, not mounted, not in use (O_EXCL) */
  const char *front;        /* "fuse", "ublk", or NULL: the best that can */
  const char *storage;      /* a directory or file elsewhere, a block device, or "inside"; NULL: the default directory */
  uint64_t storage_limit_bytes; /* 0: default, 10 % of the volume, at least 64 MiB */
  uint32_t chunk_bytes;     /* 0: default; an existing storage keeps its own */
  enum cow_full_policy full_policy;
  const char *runtime_dir, *state_dir;
};

/*
 * Starts supervisor and server as processes of their own and returns when the block device is there; its path (/dev/umbra/NAME is a link
 * to it) in device. Shadow copies that a storage holds come back, or are dropped with an event when the origin was changed behind them.
 */
int cow_attach(const struct cow_attach_options *options, char device[64], struct umbra_error *err);

/* The plain device is there again, byte for byte. -EBUSY while mounted or open, or while it has shadow copies and not force. */
int cow_detach(const char *runtime_dir, const char *name, bool force, struct umbra_error *err);

#endif
